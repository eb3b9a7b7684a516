#include <algorithm>

#include "src/model/unit_states.h"
#include "src/run/hidden_file.h"
#include "src/run/pipeline.h"

namespace mpiquant {
namespace {

// The next stage takes the hidden states when it comes to them.
constexpr Timeout kWholeRun = std::chrono::hours(24 * 30);
constexpr int kHiddenTag = 1;

std::int64_t longest(const Samples& samples) {
  std::size_t most = 1;
  for (const auto& sample : samples) most = std::max(most, sample.size());
  return static_cast<std::int64_t>(most);
}

}  // namespace

void Pipeline::make_units() {
  decoder_.emplace(model_, job_.backend, longest(samples_));
  mine_ = plan_.units_of(job_.grid.replica());
  for (const std::int64_t index : mine_) {
    const UnitPlan& unit = plan_.units[static_cast<std::size_t>(index)];
    std::vector<std::int64_t> lengths;
    for (std::int64_t s = unit.first_sample; s < unit.first_sample + unit.samples; ++s)
      lengths.push_back(static_cast<std::int64_t>(samples_[static_cast<std::size_t>(s)].size()));
    units_.push_back(decoder_->make_unit(std::move(lengths)));
    if (job_.states_on_host) keep_on_host(job_.backend, units_.back());
  }
}

// The hidden states that enter the layer this stage begins with.
void Pipeline::enter() {
  if (start_.from == HiddenFrom::kStageBefore) {
    for (std::size_t unit = 0; unit < units_.size(); ++unit) receive_unit(unit);
    return;
  }
  collectively(*job_.grid.group, [&] {
    if (start_.from == HiddenFrom::kSnapshot)
      return read_hidden(checkpoint_.folder(), state_.snapshots.at(start_.first), job_.backend, mine_, units_, model_.hidden);
    for (std::size_t unit = 0; unit < units_.size(); ++unit) embed_unit(unit);
  });
}

void Pipeline::embed_unit(std::size_t unit) {
  const UnitPlan& plan = plan_.units[static_cast<std::size_t>(mine_[unit])];
  std::vector<std::int32_t> ids;
  for (std::int64_t s = plan.first_sample; s < plan.first_sample + plan.samples; ++s) {
    const auto& sample = samples_[static_cast<std::size_t>(s)];
    ids.insert(ids.end(), sample.begin(), sample.end());
  }
  std::vector<float> rows(ids.size() * static_cast<std::size_t>(model_.hidden));
  embed(source_, model_, ids, rows);
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { set_hidden(job_.backend, stream, rows, units_[unit]); });
}

void Pipeline::receive_unit(std::size_t unit) {
  std::vector<float> rows(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
  // The stages before may work for hours; a stop must not wait for them.
  Pending arrival = job_.grid.pipe->start_recv(bytes_of(rows), job_.grid.stage() - 1, kHiddenTag);
  for (BackOff back_off; !arrival.test(); back_off.pause()) {
    check(!options_.stop_wanted || !options_.stop_wanted(), ExitCode::kStopped,
          "stopped on request before layer {}; the same command goes on from there", first_ + 1);
    report_.marks.mark();
  }
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { set_hidden(job_.backend, stream, rows, units_[unit]); });
}

void Pipeline::send_unit(std::size_t unit) {
  std::vector<float> rows(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
  job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { get_hidden(job_.backend, stream, units_[unit], rows); });
  job_.grid.pipe->start_send(bytes_of(std::span<const float>(rows)), job_.grid.stage() + 1, kHiddenTag).wait(kWholeRun);
}

// Propagation of the original activations over several stages: units pass through all layers and on to the next stage at once,
// a few at a time, so that every stage has its inputs long before the ones before it are quantized. Hidden states are kept
// as they were when they entered.
void Pipeline::stream_originals(const std::vector<LayerWeights>& layers) {
  if (start_.from == HiddenFrom::kSnapshot) enter();
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    if (start_.from == HiddenFrom::kEmbedding) embed_unit(unit);
    if (start_.from == HiddenFrom::kStageBefore) receive_unit(unit);
    if (!start_.sends) continue;
    std::vector<float> entered(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
      get_hidden(job_.backend, stream, units_[unit], entered);
      visit(job_.backend, stream, units_[unit], [&](UnitState& state) {
        for (std::size_t l = 0; l < layers.size(); ++l)
          decoder_->run_layer(stream, model_.layers[static_cast<std::size_t>(start_.first) + l], layers[l], state);
      });
    });
    send_unit(unit);
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { set_hidden(job_.backend, stream, entered, units_[unit]); });
  }
}

}  // namespace mpiquant
