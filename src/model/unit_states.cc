#include "src/model/unit_states.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace mpiquant {
namespace {

bool is_away(const Backend& backend, const UnitState& unit) { return unit.hidden.space() != backend.space(); }

std::span<float> floats_of(const BackendBuffer& buffer) {
  return {reinterpret_cast<float*>(buffer.data()), buffer.bytes() / sizeof(float)};
}

Matrix as_rows(const BackendBuffer& buffer, std::int64_t rows) {
  return buffer.matrix(rows, static_cast<std::int64_t>(buffer.bytes() / sizeof(float)) / rows);
}

BackendBuffer to_backend(Backend& backend, Stream& stream, const BackendBuffer& host, std::int64_t rows) {
  BackendBuffer there = backend.allocate(host.bytes());
  backend.upload(stream, floats_of(host), as_rows(there, rows));
  return there;
}

}  // namespace

void keep_on_host(Backend& backend, UnitState& unit) { unit.hidden = backend.allocate_host(unit.hidden.bytes()); }

void set_hidden(Backend& backend, Stream& stream, std::span<const float> values, UnitState& unit) {
  if (is_away(backend, unit))
    std::ranges::copy(values, floats_of(unit.hidden).begin());
  else
    backend.upload(stream, values, as_rows(unit.hidden, unit.tokens));
}

void get_hidden(Backend& backend, Stream& stream, const UnitState& unit, std::span<float> values) {
  if (is_away(backend, unit))
    std::ranges::copy(floats_of(unit.hidden), values.begin());
  else
    backend.download(stream, as_rows(unit.hidden, unit.tokens), values);
}

void visit(Backend& backend, Stream& stream, UnitState& unit, const std::function<void(UnitState&)>& body) {
  if (!is_away(backend, unit)) return body(unit);
  UnitState here{unit.lengths, to_backend(backend, stream, unit.hidden, unit.tokens), {}, unit.tokens, unit.input_cols};
  if (unit.input.bytes() > 0) here.input = to_backend(backend, stream, unit.input, unit.tokens);
  body(here);
  backend.download(stream, as_rows(here.hidden, here.tokens), floats_of(unit.hidden));
  unit.input_cols = here.input_cols;
  if (here.input.bytes() != unit.input.bytes())
    unit.input = here.input.bytes() > 0 ? backend.allocate_host(here.input.bytes()) : BackendBuffer();
  if (here.input.bytes() > 0) backend.download(stream, here.input_matrix(), floats_of(unit.input));
}

void visit_inputs(Backend& backend, std::span<const UnitState> units,
                  const std::function<void(std::span<const ConstMatrix>)>& body) {
  std::vector<ConstMatrix> inputs;
  for (const UnitState& unit : units) {
    if (!is_away(backend, unit)) {
      inputs.push_back(unit.input_matrix());
      continue;
    }
    BackendBuffer here;
    backend.for_each(1, [&](Stream& stream, std::int64_t) { here = to_backend(backend, stream, unit.input, unit.tokens); });
    const ConstMatrix input = here.matrix(unit.tokens, unit.input_cols);
    body(std::span(&input, 1));
  }
  if (!inputs.empty()) body(inputs);
}

}  // namespace mpiquant
