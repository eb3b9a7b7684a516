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

Strings strings_of(const options::variables_map& values, const std::string& name) {
  return values.count(name) != 0 ? values[name].as<Strings>() : Strings{};
}

// How text is cut, common to calibration and evaluation.
void add_cutting(options::options_description& group) {
  group.add_options()                                                                                                     //
      ("split-on", options::value<std::string>(), "one sample a document: what lies between occurrences of this string")  //
      ("bos", options::value<std::string>()->default_value("auto"),
       "begin samples with BOS: auto (documents only), always, never")                                                        //
      ("field", options::value<std::string>()->default_value("text"), "field of .json and .jsonl files that holds the text")  //
      ("python", options::value<std::string>()->default_value("python3"),
       "Python that reads hf: data sets and applies chat templates");
}

CalibrationOptions cutting(const options::variables_map& values) {
  CalibrationOptions out;
  if (values.count("split-on") != 0) out.split_on = values["split-on"].as<std::string>();
  out.bos = bos_mode(values["bos"].as<std::string>());
  return out;
}

CalibrationText read_text(const options::variables_map& values, Strings files, Strings strings, const ModelInput& model) {
  TextSources sources;
  sources.files = std::move(files);
  sources.strings = std::move(strings);
  sources.field = values["field"].as<std::string>();
  sources.python = values["python"].as<std::string>();
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

CalibrationSet calibration_set(const options::variables_map& values, const ModelInput& model) {
  const TokenLimits limits{model.spec.vocab, model.spec.context};
  if (values.count("calibration-ids") != 0) return read_calibration_ids(values["calibration-ids"].as<std::string>(), limits);
  CalibrationOptions options = cutting(values);
  options.nsamples = values["nsamples"].as<std::int64_t>();
  options.seqlen = values["seqlen"].as<std::int64_t>();
  options.shuffle = switch_value(values, "shuffle", false);
  options.seed = values["seed"].as<std::uint64_t>();
  Strings files = strings_of(values, "calibration");
  const Strings strings = strings_of(values, "calibration-text");
  const std::string store = values.count("token-store") != 0 ? values["token-store"].as<std::string>() : "";
  const bool stored = !store.empty() && std::filesystem::exists(store);
  const auto tokenizer = Tokenizer::load(model.directory);
  if (files.empty() && strings.empty()) {
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
    files.push_back(bundled->string());
    log_warning("no --calibration is given: the bundled text is used, which is good for a try only");
  }
  const CalibrationText text = read_text(values, std::move(files), strings, model);
  if (stored) return load_token_store(store, calibration_key(text, *tokenizer, options, limits));
  CalibrationSet set = make_calibration(text, *tokenizer, options, limits);
  if (!store.empty()) write_token_store(store, set);
  return set;
}

}  // namespace

options::options_description text_options() {
  options::options_description group("Calibration");
  group.add_options()  //
      ("calibration", options::value<Strings>()->composing(),
       "text file, .jsonl or .json, or hf:NAME[:CONFIG][:SPLIT][:FIELD] of the local data sets cache; may be repeated (default: "
       "a bundled "
       "text)")                                                                                                          //
      ("calibration-text", options::value<Strings>()->composing(), "text right here; may be repeated")                   //
      ("calibration-ids", options::value<std::string>(), "exact token ids: JSON (list of lists) or HDF5")                //
      ("token-store", options::value<std::string>(), "HDF5 file of tokenized samples: read if it exists, else written")  //
      ("nsamples", options::value<std::int64_t>()->default_value(128), "number of samples")                              //
      ("seqlen", options::value<std::int64_t>()->default_value(2048), "tokens of a sample; cut to the model's context")  //
      ("seed", options::value<std::uint64_t>()->default_value(0), "of --shuffle");
  add_switch(group, "shuffle", "draw the samples instead of taking the first ones");
  add_cutting(group);
  return group;
}

Calibration read_calibration(const options::variables_map& values, const ModelInput& model, Communicator& world) {
  CalibrationSet set;
  collectively(world, [&] {
    if (world.rank() != 0) return;
    set = calibration_set(values, model);
    for (const std::string& note : set.notes) log_warning(note);
  });
  set = share(world, std::move(set));
  return {std::move(set.samples), std::move(set.record)};
}

options::options_description window_options() {
  options::options_description group("Text");
  group.add_options()                                                                                                         //
      ("text", options::value<Strings>()->composing(), "file or data set to score, as --calibration of quantize")             //
      ("ids", options::value<std::string>(), "exact token ids instead of text: JSON (list of lists, a window each) or HDF5")  //
      ("window", options::value<std::int64_t>()->default_value(2048), "tokens of a window; cut to the model's context")       //
      ("max-windows", options::value<std::int64_t>(), "score at most so many windows (default: all)");
  add_cutting(group);
  return group;
}

Samples read_windows(const options::variables_map& values, const ModelInput& model, Communicator& world) {
  constexpr std::int64_t kAllWindows = std::int64_t{1} << 40;
  CalibrationSet set;
  collectively(world, [&] {
    check((values.count("text") != 0) != (values.count("ids") != 0), ExitCode::kUsage,
          "give either --text or --ids (what is scored comes from one of them)");
    if (world.rank() != 0) return;
    const TokenLimits limits{model.spec.vocab, model.spec.context};
    if (values.count("ids") != 0) {
      set = read_calibration_ids(values["ids"].as<std::string>(), limits);
      return;
    }
    CalibrationOptions options = cutting(values);
    options.seqlen = values["window"].as<std::int64_t>();
    options.nsamples = values.count("max-windows") != 0 ? values["max-windows"].as<std::int64_t>() : kAllWindows;
    const std::string directory = values.count("tokenizer") != 0 ? values["tokenizer"].as<std::string>() : model.directory;
    set =
        make_calibration(read_text(values, strings_of(values, "text"), {}, model), *Tokenizer::load(directory), options, limits);
    for (const std::string& note : set.notes)
      if (values.count("max-windows") != 0) log_warning(note);
  });
  return share(world, std::move(set)).samples;
}

}  // namespace mpiquant
