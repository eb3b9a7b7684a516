#include "src/run/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <regex>
#include <stdexcept>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRun = "run.json";
constexpr const char* kPlan = "plan.json";

std::string numbered(const char* kind, std::int64_t layer) { return fmt::format("{}-{:05}", kind, layer); }

void remove_path(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  check(!error, ExitCode::kEnvironment, "cannot remove {} ({}) remove it by hand", path.string(), error.message());
}

// The number in "KIND-00005SUFFIX", or nothing.
std::optional<std::int64_t> layer_of(const std::string& name, const std::string& kind, const std::string& suffix) {
  std::smatch match;
  if (!std::regex_match(name, match, std::regex(kind + "-([0-9]{5,9})" + suffix))) return std::nullopt;
  return std::stoll(match[1]);
}

template <typename Read>
auto read_json(const std::string& path, Read&& read) {
  try {
    return read(parse_json(read_text_file(path), path));
  } catch (const Error& error) {
    if (error.code() != ExitCode::kInput) throw;
    fail(ExitCode::kInput, "{} is damaged, so that nothing can go on from it: {}; begin anew with --restart never", path,
         error.what());
  } catch (const Json::exception& error) {
    fail(ExitCode::kInput, "{} is damaged ({}) begin anew with --restart never", path, error.what());
  } catch (const std::logic_error& error) {  // a number that is none
    fail(ExitCode::kInput, "{} is damaged ({}) begin anew with --restart never", path, error.what());
  }
}

std::map<std::string, std::string> texts_of(const Json& json) { return json.get<std::map<std::string, std::string>>(); }

std::map<std::int64_t, std::string> units_of(const Json& json) {
  std::map<std::int64_t, std::string> units;
  for (const auto& [unit, file] : json.items()) units[std::stoll(unit)] = file.get<std::string>();
  return units;
}

Json units_json(const std::map<std::int64_t, std::string>& units) {
  Json json = Json::object();
  for (const auto& [unit, file] : units) json[std::to_string(unit)] = file;
  return json;
}

std::vector<TensorRecord> records_of(const Json& json) {
  std::vector<TensorRecord> records;
  for (const Json& row : json) records.push_back(record_from(row));
  return records;
}

Json records_json(const std::vector<TensorRecord>& records) {
  Json rows = Json::array();
  for (const TensorRecord& record : records) rows.push_back(to_json(record));
  return rows;
}

}  // namespace

std::string Checkpoint::codes_name(std::int64_t layer, int rank) {
  return fmt::format("{}-{}.h5", numbered("codes", layer), rank);
}
std::string Checkpoint::hidden_name(std::int64_t layer, int rank) {
  return fmt::format("{}-{}.h5", numbered("hidden", layer), rank);
}

void Checkpoint::check_own() const {
  if (path_kind(folder_) == PathKind::kNothing) return;
  const std::regex own("(run|plan)\\.json.*|(codes|hidden|layer)-[0-9]{5,9}.*");
  for (const std::string& name : list_directory(folder_))
    check(std::regex_match(name, own), ExitCode::kUsage,
          "{} holds {}, which is of no interrupted run (the folder is removed with the state in it) choose another --work-dir",
          folder_, name);
}

std::optional<Identity> Checkpoint::identity() const {
  if (path_kind(path(kRun)) == PathKind::kNothing) return std::nullopt;
  return read_json(path(kRun), texts_of);
}

bool Checkpoint::has_layers() const {
  if (path_kind(folder_) == PathKind::kNothing) return false;
  const std::vector<std::string> names = list_directory(folder_);
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return layer_of(name, "layer", "\\.json").has_value(); });
}

void Checkpoint::begin(const Identity& identity) const {
  remove();
  std::error_code error;
  fs::create_directories(folder_, error);
  check(!error, ExitCode::kEnvironment, "cannot create {} ({}) choose a --work-dir this user may write to", folder_,
        error.message());
  replace_text_file(path(kRun), Json(identity).dump(1) + "\n");
}

// run.json first: what is left of a removal that is interrupted is no checkpoint.
void Checkpoint::remove() const {
  remove_path(path(kRun));
  remove_path(folder_);
}

void Checkpoint::keep_plan(const Json& plan) const {
  replace_text_file(path(kPlan), Json{{"hash", xxh3_hex(plan.dump())}, {"plan", plan}}.dump() + "\n");
}

void Checkpoint::commit_layer(std::int64_t layer, const std::vector<TensorRecord>& records,
                              const std::map<std::string, std::string>& codes, const std::map<std::string, std::string>& sums,
                              const std::string& kernels) const {
  replace_text_file(
      path(numbered("layer", layer) + ".json"),
      Json{{"records", records_json(records)}, {"codes", codes}, {"sums", sums}, {"kernels", kernels}}.dump() + "\n");
}

void Checkpoint::commit_hidden(std::int64_t layer, const std::map<std::int64_t, std::string>& units, std::int64_t first) const {
  replace_text_file(path(numbered("hidden", layer) + ".json"), units_json(units).dump() + "\n");
  const std::vector<std::string> names = list_directory(folder_);
  const auto is_old = [&](const std::string& name, const std::string& kind, const std::string& suffix) {
    const auto number = layer_of(name, kind, suffix);
    return number && *number >= first && *number < layer;
  };
  // The list of files goes before the files.
  for (const std::string& name : names)
    if (is_old(name, "hidden", "\\.json")) remove_path(path(name));
  for (const std::string& name : names)
    if (is_old(name, "(?:hidden|codes)", "-[0-9]+\\.h5")) remove_path(path(name));
}

std::set<std::int64_t> Checkpoint::State::committed() const {
  std::set<std::int64_t> out;
  for (const auto& [layer, records] : layers) out.insert(layer);
  return out;
}

std::set<std::int64_t> Checkpoint::State::snapshot_layers() const {
  std::set<std::int64_t> out;
  for (const auto& [layer, units] : snapshots) out.insert(layer);
  return out;
}

Checkpoint::State Checkpoint::state() const {
  State state;
  if (path_kind(folder_) == PathKind::kNothing) return state;
  std::set<std::int64_t> without_codes;
  for (const std::string& name : list_directory(folder_)) {
    if (const auto layer = layer_of(name, "layer", "\\.json")) {
      read_json(path(name), [&](const Json& json) {
        state.layers[*layer] = records_of(json.at("records"));
        state.kernels[*layer] = json.at("kernels").get<std::string>();
        if (json.contains("sums")) state.sums[*layer] = texts_of(json.at("sums"));
        for (auto& [module, file] : texts_of(json.at("codes"))) {
          if (path_kind(path(file)) == PathKind::kFile) {
            state.codes[module] = file;
          } else {
            without_codes.insert(*layer);
          }
        }
        return 0;
      });
    }
    if (const auto layer = layer_of(name, "hidden", "\\.json")) {
      const auto units = read_json(path(name), units_of);
      const auto is_there = [&](const auto& unit) { return path_kind(path(unit.second)) == PathKind::kFile; };
      if (std::ranges::all_of(units, is_there)) state.snapshots[*layer] = units;
    }
  }
  // Codes go when hidden states behind them are durable. Missing for another reason they cannot be replayed: the layers from
  // there on are made again.
  const std::int64_t covered = state.snapshots.empty() ? 0 : state.snapshots.rbegin()->first;
  const auto lost = without_codes.lower_bound(covered);
  if (lost != without_codes.end()) {
    state.layers.erase(state.layers.lower_bound(*lost), state.layers.end());
    state.sums.erase(state.sums.lower_bound(*lost), state.sums.end());
    state.kernels.erase(state.kernels.lower_bound(*lost), state.kernels.end());
  }
  return state;
}

Json Checkpoint::to_json(const State& state) {
  Json layers = Json::object(), snapshots = Json::object(), sums = Json::object(), kernels = Json::object();
  for (const auto& [layer, records] : state.layers) layers[std::to_string(layer)] = records_json(records);
  for (const auto& [layer, units] : state.snapshots) snapshots[std::to_string(layer)] = units_json(units);
  for (const auto& [layer, states] : state.sums) sums[std::to_string(layer)] = states;
  for (const auto& [layer, sets] : state.kernels) kernels[std::to_string(layer)] = sets;
  return {{"layers", layers}, {"codes", state.codes}, {"snapshots", snapshots}, {"sums", sums}, {"kernels", kernels}};
}

Checkpoint::State Checkpoint::state_from(const Json& json) {
  State state;
  state.codes = texts_of(json.at("codes"));
  for (const auto& [layer, records] : json.at("layers").items()) state.layers[std::stoll(layer)] = records_of(records);
  for (const auto& [layer, units] : json.at("snapshots").items()) state.snapshots[std::stoll(layer)] = units_of(units);
  for (const auto& [layer, states] : json.at("sums").items()) state.sums[std::stoll(layer)] = texts_of(states);
  for (const auto& [layer, sets] : json.at("kernels").items()) state.kernels[std::stoll(layer)] = sets.get<std::string>();
  return state;
}

}  // namespace mpiquant
