#include "src/fleet/record.h"

#include <array>

#include "io/shared_file.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::array<const char*, 5> kStates = {"waiting", "starting", "running", "done", "failed"};

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }
std::optional<double> optional_number(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<double>();
}

Json to_json(const FleetOutput& output) {
  return {{"label", output.label},
          {"path", output.path},
          {"bytes", output.bytes},
          {"bits_per_weight", output.bits_per_weight},
          {"perplexity", optional_json(output.perplexity)},
          {"reference_perplexity", optional_json(output.reference_perplexity)},
          {"kl_divergence", optional_json(output.kl)},
          {"kl_standard_error", optional_json(output.kl_error)},
          {"top1_agreement", optional_json(output.top1)}};
}

FleetOutput output_from(const Json& json) {
  return {json.at("label"),
          json.at("path"),
          json.at("bytes"),
          json.at("bits_per_weight"),
          optional_number(json.at("perplexity")),
          optional_number(json.at("reference_perplexity")),
          optional_number(json.at("kl_divergence")),
          optional_number(json.at("kl_standard_error")),
          optional_number(json.at("top1_agreement"))};
}

JobState state_from(const std::string& text) {
  for (std::size_t i = 0; i < kStates.size(); ++i)
    if (text == kStates[i]) return static_cast<JobState>(i);
  fail(ExitCode::kInput, "a job's state is \"{}\" (the record is damaged) remove the file", text);
}

}  // namespace

const char* to_string(JobState state) { return kStates.at(static_cast<std::size_t>(state)); }

FleetRecord FleetRecord::read(const std::string& folder) {
  FleetRecord record;
  const std::optional<Json> json = read_state(folder + "/record.json");
  if (!json) return record;
  try {
    record.key = json->at("key");
    record.state = state_from(json->at("state"));
    record.attempts = json->at("attempts");
    record.forgiven = json->at("forgiven");
    record.exit_code = json->at("exit_code");
    record.message = json->at("message");
    record.log = json->at("log");
    record.handle = json->at("handle");
    record.begun = json->at("begun");
    record.ended = json->at("ended");
    record.seconds = json->at("seconds");
    record.node_seconds = json->at("node_seconds");
    record.output_is_ours = json->at("output_is_ours");
    record.replaces = json->at("replaces");
    for (const Json& output : json->at("outputs")) record.outputs.push_back(output_from(output));
  } catch (const Json::exception& error) {
    fail(ExitCode::kInput, "{}/record.json is damaged ({}) remove it to run the job again", folder, error.what());
  }
  return record;
}

void FleetRecord::write(const std::string& folder) const {
  Json list = Json::array();
  for (const FleetOutput& output : outputs) list.push_back(to_json(output));
  const Json json = {{"key", key},
                     {"state", to_string(state)},
                     {"attempts", attempts},
                     {"forgiven", forgiven},
                     {"exit_code", exit_code},
                     {"message", message},
                     {"log", log},
                     {"handle", handle},
                     {"begun", begun},
                     {"ended", ended},
                     {"seconds", seconds},
                     {"node_seconds", node_seconds},
                     {"output_is_ours", output_is_ours},
                     {"replaces", replaces},
                     {"outputs", std::move(list)}};
  replace_shared_file(folder + "/record.json", json.dump(1) + "\n");
}

}  // namespace mpiquant
