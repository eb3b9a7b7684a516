#include "src/run/pipeline.h"

#include <algorithm>
#include <numeric>

#include "src/base/log.h"
#include "src/quant/method.h"
#include "src/run/hessian.h"
#include "src/run/layer_loader.h"

namespace mpiquant {
namespace {

// A stage may wait for all the work of the stages before it.
constexpr Timeout kWholeRun = std::chrono::hours(24 * 30);
constexpr int kHiddenTag = 1;

std::int64_t longest(const Samples& samples) {
  std::size_t most = 1;
  for (const auto& sample : samples) most = std::max(most, sample.size());
  return static_cast<std::int64_t>(most);
}

}  // namespace

Pipeline::Pipeline(Job& job, const ModelSpec& model, const TensorSource& source, const Recipe& recipe,
                   const std::vector<OutputSpec>& outputs, const Plan& plan, const Samples& samples, OutputFiles& files,
                   RankReport& report)
    : job_(job),
      model_(model),
      source_(source),
      recipe_(recipe),
      plan_(plan),
      samples_(samples),
      report_(report),
      propagated_(propagated_output(recipe, outputs)),
      converter_(job, recipe, outputs, propagated_, files) {}

// Calls body(stream, unit) for each of this replica's units, on the backend's streams.
template <typename Body>
void Pipeline::for_units(Body&& body) {
  collectively(*job_.grid.group, [&] {
    job_.backend.for_each(static_cast<std::int64_t>(units_.size()),
                          [&](Stream& stream, std::int64_t i) { body(stream, units_[static_cast<std::size_t>(i)]); });
  });
}

void Pipeline::make_units() {
  decoder_.emplace(model_, job_.backend, longest(samples_));
  mine_ = plan_.units_of(job_.grid.replica());
  for (const std::int64_t index : mine_) {
    const UnitPlan& unit = plan_.units[static_cast<std::size_t>(index)];
    std::vector<std::int64_t> lengths;
    for (std::int64_t s = unit.first_sample; s < unit.first_sample + unit.samples; ++s)
      lengths.push_back(static_cast<std::int64_t>(samples_[static_cast<std::size_t>(s)].size()));
    units_.push_back(decoder_->make_unit(std::move(lengths)));
  }
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
  job_.backend.for_each(
      1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, rows, units_[unit].hidden_matrix(model_.hidden)); });
}

void Pipeline::receive_unit(std::size_t unit) {
  std::vector<float> rows(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
  job_.grid.pipe->start_recv(bytes_of(rows), job_.grid.stage() - 1, kHiddenTag).wait(kWholeRun);
  job_.backend.for_each(
      1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, rows, units_[unit].hidden_matrix(model_.hidden)); });
}

void Pipeline::send_unit(std::size_t unit) {
  std::vector<float> rows(static_cast<std::size_t>(units_[unit].tokens * model_.hidden));
  job_.backend.for_each(
      1, [&](Stream& stream, std::int64_t) { job_.backend.download(stream, units_[unit].hidden_matrix(model_.hidden), rows); });
  job_.grid.pipe->start_send(bytes_of(std::span<const float>(rows)), job_.grid.stage() + 1, kHiddenTag).wait(kWholeRun);
}

// Propagation of the original activations over several stages: units pass through all layers and on to the next stage at once,
// a few at a time, so that every stage has its inputs long before the ones before it are quantized. Hidden states are kept
// as they were when they entered.
void Pipeline::stream_originals(const std::vector<LayerWeights>& layers, std::int64_t first) {
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    if (first_stage()) {
      embed_unit(unit);
    } else {
      receive_unit(unit);
    }
    if (last_stage()) continue;
    const Matrix hidden = units_[unit].hidden_matrix(model_.hidden);
    std::vector<float> entered(static_cast<std::size_t>(hidden.rows * hidden.cols));
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) {
      job_.backend.download(stream, hidden, entered);
      for (std::size_t l = 0; l < layers.size(); ++l)
        decoder_->run_layer(stream, model_.layers[static_cast<std::size_t>(first) + l], layers[l], units_[unit]);
    });
    send_unit(unit);
    job_.backend.for_each(1, [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, entered, hidden); });
  }
}

std::int64_t Pipeline::calibration_tokens() const {
  std::int64_t tokens = 0;
  for (const UnitPlan& unit : plan_.units) tokens += unit.tokens;
  return tokens;
}

Factor Pipeline::factor_of(const BlockSpec& block, const BlockPlan& plan) {
  const PhaseTimer timer(report_, "hessian");
  std::vector<ConstMatrix> inputs;
  for (const UnitState& unit : units_) inputs.push_back(unit.input_matrix());
  const FactorOptions options{recipe_.order, recipe_.damp_percent, recipe_.damp_increment};
  if (job_.grid.group->size() > 1)
    report_.hessian_bytes += block.cols() * (block.cols() + 1) / 2 * static_cast<std::int64_t>(sizeof(std::int64_t));
  return shared_factor(job_, inputs, block.cols(), static_cast<std::int64_t>(plan_.units.size()), calibration_tokens(),
                       plan.hessian_owner, options);
}

void Pipeline::convert_block(const BlockSpec& block, const BlockPlan& plan, const std::vector<LinearWeights>& weights,
                             const Factor* factor) {
  const PhaseTimer timer(report_, "convert");
  std::vector<ConstMatrix> original;
  std::vector<Matrix> decoded;
  for (const LinearWeights& linear : weights) {
    original.push_back(linear.matrix());
    if (propagated_ && calibrated()) decoded.push_back(linear.matrix());
  }
  converter_.convert(block, plan, original, factor, calibration_tokens(), decoded);
}

// forward_whole: some later step needs the output of this layer.
void Pipeline::quantize_layer(const LayerSpec& layer, const LayerPlan& plan, LayerWeights& weights, bool forward_whole) {
  if (!calibrated()) {
    for (std::size_t b = 0; b < layer.blocks.size(); ++b)
      convert_block(layer.blocks[b], plan.blocks[b], weights.blocks[b], nullptr);
    return;
  }
  // With the quantized weights of the whole layer the forward pass starts again from here.
  const bool again = !recipe_.true_sequential && propagated_.has_value();
  std::vector<std::vector<float>> entered;
  if (again) {
    entered.resize(units_.size());
    job_.backend.for_each(static_cast<std::int64_t>(units_.size()), [&](Stream& stream, std::int64_t i) {
      const Matrix hidden = units_[static_cast<std::size_t>(i)].hidden_matrix(model_.hidden);
      entered[static_cast<std::size_t>(i)].resize(static_cast<std::size_t>(hidden.rows * hidden.cols));
      job_.backend.download(stream, hidden, entered[static_cast<std::size_t>(i)]);
    });
  }
  std::vector<std::optional<Factor>> factors(layer.blocks.size());
  {
    const PhaseTimer timer(report_, "forward");
    for_units([&](Stream& stream, UnitState& unit) { decoder_->begin(stream, weights, unit); });
  }
  for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
    const BlockSpec& block = layer.blocks[b];
    if (converter_.converts(block)) {
      factors[b] = factor_of(block, plan.blocks[b]);
      if (!again) {
        convert_block(block, plan.blocks[b], weights.blocks[b], &*factors[b]);
        factors[b].reset();
      }
    }
    if (b + 1 == layer.blocks.size() && (again || !forward_whole)) break;
    const PhaseTimer timer(report_, "forward");
    for_units([&](Stream& stream, UnitState& unit) { decoder_->advance(stream, layer, weights, b, unit); });
  }
  for (const UnitState& unit : units_) report_.tokens += unit.tokens;
  if (!again) return;
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    if (factors[b]) convert_block(layer.blocks[b], plan.blocks[b], weights.blocks[b], &*factors[b]);
  if (!forward_whole) return;
  const PhaseTimer timer(report_, "forward");
  for (UnitState& unit : units_) unit.input = {};
  job_.backend.for_each(static_cast<std::int64_t>(units_.size()), [&](Stream& stream, std::int64_t i) {
    job_.backend.upload(stream, entered[static_cast<std::size_t>(i)],
                        units_[static_cast<std::size_t>(i)].hidden_matrix(model_.hidden));
  });
  for_units([&](Stream& stream, UnitState& unit) { decoder_->run_layer(stream, layer, weights, unit); });
}

// The head sees the final norm of the last layer's output.
void Pipeline::quantize_head() {
  const BlockSpec block{"head", {model_.head}};
  const BlockPlan& plan = plan_.head->blocks.front();
  std::vector<LinearWeights> weights;
  weights.push_back(load_shared_linear(job_, source_, model_.head, model_.head_weight()));
  if (!calibrated()) return convert_block(block, plan, weights, nullptr);
  VectorWeights norm;
  collectively(*job_.grid.group, [&] { norm = load_vector(source_, model_.final_norm, model_.hidden, job_.backend); });
  for_units([&](Stream& stream, UnitState& unit) {
    unit.input = job_.backend.allocate(static_cast<std::size_t>(unit.tokens * model_.hidden) * sizeof(float));
    unit.input_cols = model_.hidden;
    decoder_->final_norm(stream, unit.hidden_matrix(model_.hidden), norm, unit.input_matrix());
  });
  if (!converter_.converts(block)) return;
  const Factor factor = factor_of(block, plan);
  convert_block(block, plan, weights, &factor);
}

void Pipeline::run() {
  const auto [first, last] = plan_.layers_of(job_.grid.stage());
  const bool streams = calibrated() && !propagated_ && plan_.stages > 1;
  std::vector<LayerWeights> resident;
  if (calibrated()) {
    collectively(*job_.grid.group, [&] { make_units(); });
    if (streams) {
      for (std::int64_t l = first; l < last; ++l)
        resident.push_back(load_shared_layer(job_, source_, model_, model_.layers[static_cast<std::size_t>(l)]));
      stream_originals(resident, first);
    } else if (first_stage()) {
      collectively(*job_.grid.group, [&] {
        for (std::size_t unit = 0; unit < units_.size(); ++unit) embed_unit(unit);
      });
    } else {
      for (std::size_t unit = 0; unit < units_.size(); ++unit) receive_unit(unit);
    }
  }
  for (std::int64_t l = first; l < last; ++l) {
    const auto start = std::chrono::steady_clock::now();
    const LayerSpec& layer = model_.layers[static_cast<std::size_t>(l)];
    LayerWeights weights;
    if (streams) {
      weights = std::move(resident[static_cast<std::size_t>(l - first)]);
    } else {
      const PhaseTimer timer(report_, "read");
      weights = load_shared_layer(job_, source_, model_, layer);
    }
    const bool forward_whole = l + 1 < last || (last_stage() ? plan_.head.has_value() : !streams);
    quantize_layer(layer, plan_.layers[static_cast<std::size_t>(l)], weights, forward_whole);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (job_.grid.replica() == 0)
      info_line("layer {} of {}: {:.1f} s, about {:.0f} s left", l + 1, model_.layers.size(), took.count(),
                took.count() * static_cast<double>(last - l - 1));
  }
  if (calibrated() && !streams && !last_stage())
    for (std::size_t unit = 0; unit < units_.size(); ++unit) send_unit(unit);
  if (plan_.head && last_stage()) quantize_head();
  report_.rows_swept = converter_.rows_swept();
}

}  // namespace mpiquant
