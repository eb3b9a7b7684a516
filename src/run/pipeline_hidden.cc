#include <algorithm>
#include <array>

#include "src/model/unit_states.h"
#include "src/run/hidden_file.h"
#include "src/run/pipeline.h"

namespace mpiquant {
namespace {

constexpr int kHiddenTag = 1;

std::int64_t longest(const Samples& samples) {
  std::size_t most = 1;
  for (const auto& sample : samples) most = std::max(most, sample.size());
  return static_cast<std::int64_t>(most);
}

}  // namespace

// Tensors of no layer on their way to the outputs. Their passing makes the first hidden states, unless these are kept.
void Pipeline::write_first() {
  const PhaseTimer timer(report_, "slabs");
  if (calibrated() && starts_.front().from == HiddenFrom::kEmbedding)
    collectively(job_.world, [&] { token_rows_.emplace(model_, plan_, samples_, job_.world); });
  dense_.write_first(token_rows_ ? &*token_rows_ : nullptr);
  if (job_.grid.stage() > 0) token_rows_.reset();
}

void Pipeline::make_units() {
  decoder_.emplace(model_, job_.backend, longest(samples_));
  mine_ = plan_.units_of(job_.grid.replica());
  for (const std::int64_t index : mine_) {
    const UnitPlan& unit = plan_.units[static_cast<std::size_t>(index)];
    std::vector<std::int64_t> lengths;
    for (std::int64_t s = unit.first_sample; s < unit.first_sample + unit.samples; ++s)
      lengths.push_back(static_cast<std::int64_t>(samples_[static_cast<std::size_t>(s)].size()));
    if (corrects()) originals_.push_back(decoder_->make_unit(lengths));
    units_.push_back(decoder_->make_unit(std::move(lengths)));
    if (job_.states_on_host) keep_on_host(job_.backend, units_.back());
  }
}

std::vector<HiddenState> Pipeline::states() {
  std::vector<HiddenState> out;
  for (std::size_t unit = 0; unit < units_.size(); ++unit) out.push_back({mine_[unit], &units_[unit]});
  for (std::size_t unit = 0; unit < originals_.size(); ++unit)
    out.push_back({static_cast<std::int64_t>(plan_.units.size()) + mine_[unit], &originals_[unit]});
  return out;
}

// The hidden states that enter the layer this stage begins with.
void Pipeline::enter() {
  if (start_.from == HiddenFrom::kStageBefore) {
    for (std::size_t turn = 0, end = turns(); turn < end; ++turn) receive_unit(turn);
    return;
  }
  collectively(*job_.grid.group, [&] {
    if (start_.from == HiddenFrom::kSnapshot)
      return read_hidden(checkpoint_.folder(), state_.snapshots.at(start_.first), job_.backend, states(), model_.hidden);
    for (std::size_t unit = 0; unit < units_.size(); ++unit) embed_unit(unit);
  });
  token_rows_.reset();
}

void Pipeline::embed_unit(std::size_t unit) {
  const UnitPlan& plan = plan_.units[static_cast<std::size_t>(mine_[unit])];
  std::vector<std::int32_t> ids;
  for (std::int64_t s = plan.first_sample; s < plan.first_sample + plan.samples; ++s) {
    const auto& sample = samples_[static_cast<std::size_t>(s)];
    ids.insert(ids.end(), sample.begin(), sample.end());
  }
  std::vector<float> rows(ids.size() * static_cast<std::size_t>(model_.hidden));
  token_rows_->copy(ids, rows);
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
    set_hidden(job_.backend, stream, rows, units_[unit]);
    if (corrects()) set_hidden(job_.backend, stream, rows, originals_[unit]);
  });
}

// Turns in which every replica passes on a state, or none if it has fewer than others.
std::size_t Pipeline::turns() const {
  std::size_t most = 0;
  for (int replica = 0; replica < job_.grid.group->size(); ++replica) most = std::max(most, plan_.units_of(replica).size());
  return corrects() ? 2 * most : most;
}

// Waits for another stage, which may work for hours before it comes to this. Collective over the replicas, so that a stop ends
// it on all of them.
void Pipeline::exchange(Pending pending) {
  exchange_ = std::move(pending);
  for (BackOff back_off;; back_off.pause()) {
    const bool stop_here = options_.stop_wanted && options_.stop_wanted();
    std::array<std::int64_t, 2> wishes{stop_here ? 1 : 0, exchange_.test() ? 0 : 1};
    job_.grid.group->all_reduce_max(std::span<std::int64_t>(wishes));
    if (wishes[0] != 0)
      agree(*job_.grid.group,
            Error(ExitCode::kStopped, "stopped on request between two stages; the same command goes on from there"));
    if (wishes[1] == 0) return;
    lines_.poll();
    report_.marks.mark();
  }
}

void Pipeline::receive_unit(std::size_t turn) {
  const std::vector<HiddenState> all = states();
  if (turn >= all.size()) return exchange({});
  UnitState& unit = *all[turn].unit;
  passing_.resize(static_cast<std::size_t>(unit.tokens * model_.hidden));
  exchange(job_.grid.pipe->start_recv(bytes_of(passing_), job_.grid.stage() - 1, kHiddenTag));
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { set_hidden(job_.backend, stream, passing_, unit); });
  passing_ = {};
}

void Pipeline::send_unit(std::size_t turn) {
  const std::vector<HiddenState> all = states();
  if (turn >= all.size()) return exchange({});
  const UnitState& unit = *all[turn].unit;
  passing_.resize(static_cast<std::size_t>(unit.tokens * model_.hidden));
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { get_hidden(job_.backend, stream, unit, passing_); });
  exchange(job_.grid.pipe->start_send(bytes_of(std::span<const float>(passing_)), job_.grid.stage() + 1, kHiddenTag));
  passing_ = {};
}

// Propagation of the original activations over several stages: units pass through all layers and on to the next stage at once,
// a few at a time, so that every stage has its inputs long before the ones before it are quantized. Hidden states are kept
// as they were when they entered.
void Pipeline::stream_originals(const std::vector<Forms<LayerWeights>>& layers) {
  if (start_.from == HiddenFrom::kSnapshot) enter();
  for (std::size_t unit = 0, end = turns(); unit < end; ++unit) {
    if (start_.from == HiddenFrom::kStageBefore) receive_unit(unit);
    if (unit >= units_.size()) {
      if (start_.sends) send_unit(unit);
      continue;
    }
    if (start_.from == HiddenFrom::kEmbedding) embed_unit(unit);
    if (!start_.sends) continue;
    std::vector<float> entered(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
      get_hidden(job_.backend, stream, units_[unit], entered);
      visit(job_.backend, stream, units_[unit], [&](UnitState& state) {
        for (std::size_t l = 0; l < layers.size(); ++l)
          decoder_->run_layer(stream, model_.layers[static_cast<std::size_t>(start_.first) + l], layers[l].forward, state);
      });
    });
    send_unit(unit);
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { set_hidden(job_.backend, stream, entered, units_[unit]); });
  }
  token_rows_.reset();
}

}  // namespace mpiquant
