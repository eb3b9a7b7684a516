#include "launch/text_options.h"

#include <algorithm>
#include <filesystem>

#include "launch/resources.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/comm/collectives.h"
#include "src/text/calibration.h"
#include "src/text/token_store.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

constexpr const char* kBundledText = "configs/calibration/corpus-calibration.txt";

CalibrationText read_text(const CalibrationChoice& choice, const ModelInput& model) {
  TextSources sources;
  sources.files = choice.files;
  sources.strings = choice.texts;
  sources.field = choice.field;
  sources.python = choice.python;
  sources.helper = find_resource("scripts/hf_text.py").value_or("").string();
  sources.model = model.directory;
  return read_calibration_text(sources);
}

// What rank 0 has made, on every rank.
CalibrationSet share(Communicator& world, CalibrationSet set) {
  Json facts = {{"record", set.record}, {"lengths", Json::array()}};
  std::vector<std::int32_t> ids;
  for (const auto& sample : set.samples) {
    facts["lengths"].push_back(sample.size());
    ids.insert(ids.end(), sample.begin(), sample.end());
  }
  facts = Json::parse(broadcast_string(world, facts.dump(), 0));
  std::size_t total = 0;
  for (const Json& length : facts["lengths"]) total += length.get<std::size_t>();
  ids.resize(total);
  world.broadcast(bytes_of(ids), 0);
  CalibrationSet out;
  out.record = facts["record"];
  auto next = ids.begin();
  for (const Json& length : facts["lengths"]) {
    const auto end = next + length.get<std::ptrdiff_t>();
    out.samples.emplace_back(next, end);
    next = end;
  }
  return out;
}

// Exact ids are taken as they are: options that cut text would do nothing.
void refuse_with_ids(const options::variables_map& values, std::string_view ids, const std::vector<std::string>& cutting) {
  for (const std::string& name : cutting)
    check(values.count(name) == 0 || values[name].defaulted(), ExitCode::kUsage,
          "--{} does nothing with {} (whose samples are taken as they are) leave one of them away", name, ids);
}

void keep_first(CalibrationSet& set, std::int64_t count) {
  if (count < std::ssize(set.samples)) set.samples.resize(static_cast<std::size_t>(count));
}

CalibrationSet calibration_set(CalibrationChoice choice, const ModelInput& model, StoreUse use) {
  const TokenLimits limits{model.spec.vocab, model.spec.context};
  if (!choice.ids.empty()) return read_calibration_ids(choice.ids, limits);
  const std::string& store = choice.token_store;
  const bool stored = !store.empty() && std::filesystem::exists(store);
  const auto tokenizer = Tokenizer::load(model.directory);
  if (!choice.has_source()) {
    if (stored) {
      CalibrationSet set = load_token_store(store);
      check(set.record["key"]["tokenizer"] == tokenizer->content_hash(), ExitCode::kInput,
            "{} was made with another tokenizer than that of {} (its ids mean other text) make it again with mpiquant calibrate",
            store, model.name);
      check_tokens(set.samples, limits, store);
      return set;
    }
    const auto bundled = find_resource(kBundledText);
    check(bundled.has_value(), ExitCode::kUsage,
          "no --calibration is given, and the bundled text was not found beside the program (GPTQ needs text) give a file");
    choice.files.push_back(bundled->string());
    log_warning("no --calibration is given: the bundled text is used, which is good for a try only");
  }
  const CalibrationText text = read_text(choice, model);
  if (stored) return load_token_store(store, calibration_key(text, *tokenizer, choice.cut, limits));
  CalibrationSet set = make_calibration(text, *tokenizer, choice.cut, limits);
  if (!store.empty() && use == StoreUse::kReadOrWrite) write_token_store(store, set);
  return set;
}

}  // namespace

Calibration read_calibration(const options::variables_map& values, const ModelInput& model, Communicator& world, StoreUse use) {
  CalibrationSet set;
  collectively(world, [&] {
    if (world.rank() != 0) return;
    const CalibrationChoice choice = read_choices(values).calibration;
    if (!choice.ids.empty())
      refuse_with_ids(values, "--calibration-ids", {"nsamples", "seqlen", "shuffle", "split-on", "bos", "field", "token-store"});
    set = calibration_set(choice, model, use);
    for (const std::string& note : set.notes) log_warning(note);
  });
  set = share(world, std::move(set));
  return {std::move(set.samples), std::move(set.record)};
}

options::options_description window_options() {
  options::options_description group("Text");
  group.add_options()  //
      ("text", hinted_list({"FILE", {}, Completion::kFile, ""}),
       "file or data set to score, as --calibration of quantize; may be repeated")  //
      ("ids", hinted({"FILE", {}, Completion::kFile, ""}),
       "exact token ids instead of text: JSON (list of lists, a window each) or HDF5")  //
      ("window", options::value<std::int64_t>()->default_value(2048)->value_name("N"),
       "tokens of a window; cut to the model's context")  //
      ("max-windows", options::value<std::int64_t>()->value_name("N"), "score at most so many windows, all of them by default");
  // How the text is cut, as for calibration.
  for (const std::string_view key : {"split_on", "bos", "field", "python"})
    add_field(group, *find_recipe_field("calibration", key));
  return group;
}

Samples read_windows(const options::variables_map& values, const ModelInput& model, Communicator& world) {
  constexpr std::int64_t kAllWindows = std::int64_t{1} << 40;
  CalibrationSet set;
  collectively(world, [&] {
    check((values.count("text") != 0) != (values.count("ids") != 0), ExitCode::kUsage,
          "give either --text or --ids (what is scored comes from one of them)");
    for (const std::string name : {"window", "max-windows"}) {
      if (values.count(name) == 0) continue;
      const auto value = values[name].as<std::int64_t>();
      check(value > 0, ExitCode::kUsage, "--{} {} (nothing would be scored) give a number from 1 on", name, value);
    }
    if (world.rank() != 0) return;
    const TokenLimits limits{model.spec.vocab, model.spec.context};
    if (values.count("ids") != 0) {
      refuse_with_ids(values, "--ids", {"window", "split-on", "bos", "field"});
      set = read_calibration_ids(values["ids"].as<std::string>(), limits);
      if (values.count("max-windows") != 0) keep_first(set, values["max-windows"].as<std::int64_t>());
      return;
    }
    CalibrationChoice choice = read_choices(values).calibration;
    choice.files = values["text"].as<Strings>();
    choice.cut.seqlen = values["window"].as<std::int64_t>();
    choice.cut.nsamples = values.count("max-windows") != 0 ? values["max-windows"].as<std::int64_t>() : kAllWindows;
    const std::string directory = values.count("tokenizer") != 0 ? values["tokenizer"].as<std::string>() : model.directory;
    set = make_calibration(read_text(choice, model), *Tokenizer::load(directory), choice.cut, limits);
    for (const std::string& note : set.notes)
      if (values.count("max-windows") != 0) log_warning(note);
  });
  return share(world, std::move(set)).samples;
}

}  // namespace mpiquant
