#include "src/text/token_store.h"

#include <algorithm>
#include <functional>
#include <span>

#include "io/hdf5.h"
#include "src/base/error.h"

namespace mpiquant {

namespace {

constexpr const char* kVersion = "mpiquant tokens 1";

void check_key(const Json& stored, const Json& wanted, const std::string& path) {
  for (const auto& [name, value] : wanted.items()) {
    const Json found = stored.is_object() && stored.contains(name) ? stored.at(name) : Json(nullptr);
    check(found == value, ExitCode::kInput,
          "the token store {} was made with another {}: {}, now it is {} (its samples would not be the ones asked for) remove "
          "it, or give the "
          "options that it was made with",
          path, name, found.dump(), value.dump());
  }
  check(stored.is_object() && stored.size() == wanted.size(), ExitCode::kInput,
        "the token store {} was made of something else than text", path);
}

}  // namespace

void write_token_store(const std::string& path, const CalibrationSet& set) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> offsets{0};
  for (const auto& sample : set.samples) {
    tokens.insert(tokens.end(), sample.begin(), sample.end());
    offsets.push_back(static_cast<std::int64_t>(tokens.size()));
  }
  const std::string record = set.record.dump();
  const auto bytes = std::span(reinterpret_cast<const std::uint8_t*>(record.data()), record.size());
  Hdf5Writer file(path);
  file.attribute("format", kVersion);
  file.write("tokens", {static_cast<std::int64_t>(tokens.size())}, std::span<const std::int32_t>(tokens));
  file.write("offsets", {static_cast<std::int64_t>(offsets.size())}, std::span<const std::int64_t>(offsets));
  file.write("record", {static_cast<std::int64_t>(record.size())}, bytes);
  file.commit();
}

CalibrationSet load_token_store(const std::string& path, const std::optional<Json>& key) {
  const Hdf5Reader file(path);
  const bool known = file.has_attribute("format") && file.attribute("format") == kVersion;
  check(known, ExitCode::kInput, "{} is not a token store of this version (it cannot be used) make it again", path);
  const auto text = file.read<std::uint8_t>("record");
  CalibrationSet set;
  set.record = parse_json(std::string(text.begin(), text.end()), path + ", its record");
  check(set.record.is_object() && set.record.contains("key"), ExitCode::kInput,
        "the record of {} has no key (the file is damaged)", path);
  if (key) check_key(set.record.at("key"), *key, path);
  const auto tokens = file.read<std::int32_t>("tokens");
  const auto offsets = file.read<std::int64_t>("offsets");
  const bool framed = !offsets.empty() && offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(tokens.size());
  check(framed, ExitCode::kInput, "the offsets of {} do not fit its tokens (the file is damaged)", path);
  const bool rising = std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()) == offsets.end();
  check(rising, ExitCode::kInput, "the offsets of {} do not rise (the file is damaged)", path);
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
    set.samples.emplace_back(tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1]);
  return set;
}

}  // namespace mpiquant
