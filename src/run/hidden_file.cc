#include "src/run/hidden_file.h"

#include <utility>

#include "src/base/error.h"
#include "src/model/unit_states.h"

namespace mpiquant {
namespace {

std::string dataset(std::int64_t index) { return fmt::format("unit-{}", index); }

}  // namespace

std::vector<HiddenRows> copy_hidden(Backend& backend, std::span<const HiddenState> states, std::int64_t hidden) {
  std::vector<HiddenRows> out(states.size());
  backend.for_each(static_cast<std::int64_t>(states.size()), [&](Stream& stream, std::int64_t i) {
    const auto& [index, unit] = states[static_cast<std::size_t>(i)];
    HiddenRows& rows = out[static_cast<std::size_t>(i)];
    rows = {index, unit->tokens, std::vector<float>(static_cast<std::size_t>(unit->tokens * hidden))};
    get_hidden(backend, stream, *unit, rows.values);
  });
  return out;
}

void write_hidden(Hdf5Writer& file, std::vector<HiddenRows> units, std::int64_t hidden) {
  for (HiddenRows& unit : units) {
    const std::vector<float> values = std::move(unit.values);
    file.write<float>(dataset(unit.index), {unit.tokens, hidden}, values);
  }
}

void read_hidden(const std::string& folder, const std::map<std::int64_t, std::string>& files, Backend& backend,
                 std::span<const HiddenState> states, std::int64_t hidden) {
  std::map<std::string, Hdf5Reader> open;
  for (const auto& [index, unit] : states) {
    const auto file = files.find(index);
    check(file != files.end(), ExitCode::kInput,
          "the checkpoint in {} lacks the hidden states of unit {} (it is damaged) begin anew with --restart never", folder,
          index);
    auto reader = open.find(file->second);
    if (reader == open.end()) reader = open.emplace(file->second, Hdf5Reader(folder + "/" + file->second)).first;
    const std::string name = dataset(index);
    check(reader->second.shape(name) == Shape{unit->tokens, hidden}, ExitCode::kInput,
          "{}/{}: {} has another shape than the unit (the checkpoint is damaged) begin anew with --restart never", folder,
          file->second, name);
    const std::vector<float> rows = reader->second.read<float>(name);
    backend.for_each(1, [&, to = unit](Stream& stream, std::int64_t) { set_hidden(backend, stream, rows, *to); });
  }
}

}  // namespace mpiquant
