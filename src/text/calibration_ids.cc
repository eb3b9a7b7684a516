#include <algorithm>
#include <filesystem>
#include <limits>

#include "io/file.h"
#include "io/hdf5.h"
#include "src/base/error.h"
#include "src/text/calibration.h"
#include "src/text/token_limits.h"
#include "src/text/token_store.h"

namespace mpiquant {

namespace {

using Samples = std::vector<std::vector<std::int32_t>>;

constexpr const char* kForms = "(needed is a list of lists of ids, or {\"input_ids\": that})";

std::int32_t to_id(std::int64_t value, const std::string& path) {
  check(value >= 0 && value <= std::numeric_limits<std::int32_t>::max(), ExitCode::kInput,
        "{} has the token id {} (ids count from 0) correct it", path, value);
  return static_cast<std::int32_t>(value);
}

Samples read_json_ids(const std::string& path) {
  const Json root = parse_json(read_text_file(path), path);
  const Json& list = root.is_object() && root.contains("input_ids") ? root.at("input_ids") : root;
  check(list.is_array(), ExitCode::kInput, "{} holds no samples {}", path, kForms);
  Samples samples;
  for (const Json& row : list) {
    check(row.is_array(), ExitCode::kInput, "{} has a sample that is not a list {}", path, kForms);
    auto& sample = samples.emplace_back();
    for (const Json& id : row) {
      check(id.is_number_integer(), ExitCode::kInput, "{} has {} in place of a token id {}", path, id.dump(), kForms);
      sample.push_back(to_id(id.get<std::int64_t>(), path));
    }
  }
  return samples;
}

template <typename T>
Samples rows_of(const std::vector<T>& values, std::int64_t columns, const std::string& path) {
  Samples samples;
  for (auto at = values.begin(); at != values.end(); at += columns) {
    auto& sample = samples.emplace_back();
    std::transform(at, at + columns, std::back_inserter(sample), [&](T value) { return to_id(value, path); });
  }
  return samples;
}

Samples read_hdf5_ids(const std::string& path) {
  const Hdf5Reader file(path);
  if (!file.has("input_ids")) return load_token_store(path).samples;
  const Shape shape = file.shape("input_ids");
  check(shape.size() == 2 && shape[1] > 0, ExitCode::kInput, "the dataset input_ids of {} is not [samples, tokens]", path);
  const bool wide = file.type("input_ids") == Hdf5Type::kI64;
  return wide ? rows_of(file.read<std::int64_t>("input_ids"), shape[1], path)
              : rows_of(file.read<std::int32_t>("input_ids"), shape[1], path);
}

}  // namespace

CalibrationSet read_calibration_ids(const std::string& path, const TokenLimits& limits) {
  const std::string suffix = std::filesystem::path(path).extension().string();
  CalibrationSet set;
  set.samples = suffix == ".h5" || suffix == ".hdf5" ? read_hdf5_ids(path) : read_json_ids(path);
  check(!set.samples.empty(), ExitCode::kInput, "{} has no samples (there is nothing to calibrate with)", path);
  check_tokens(set.samples, limits, path);
  set.record["key"] = {{"ids", hash_file_xxh3(path)}};
  set.record["sources"] =
      Json::array({{{"name", std::filesystem::path(path).filename().string()}, {"samples", set.samples.size()}}});
  set.record["samples"] = set.samples.size();
  set.record["tokens"] = count_tokens(set.samples);
  return set;
}

}  // namespace mpiquant
