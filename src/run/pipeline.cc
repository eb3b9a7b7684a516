#include "src/run/pipeline.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/model/unit_states.h"
#include "src/run/correction.h"
#include "src/run/timed.h"

namespace mpiquant {
namespace {

// Layers of each stage; a quantized head is one more after the last.
std::vector<std::pair<std::int64_t, std::int64_t>> stage_ranges(const Plan& plan) {
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  for (int stage = 0; stage < plan.stages; ++stage) ranges.push_back(plan.layers_of(stage));
  if (plan.head) ++ranges.back().second;
  return ranges;
}

// Seconds of work, without waiting for others.
double busy_seconds(const RankReport& report) {
  double sum = 0;
  for (const char* phase : {"read", "forward", "hessian", "factor", "sweep", "write"})
    if (const auto found = report.seconds.find(phase); found != report.seconds.end()) sum += found->second;
  return sum;
}

const ModelInput* other_form(const ModelInput& model, const std::vector<std::string>& transforms,
                             const std::vector<OutputSpec>& outputs) {
  const auto other = std::ranges::find_if(outputs, [&](const OutputSpec& output) { return output.transforms != transforms; });
  return other == outputs.end() ? nullptr : &model.form(other->transforms);
}

}  // namespace

Pipeline::Pipeline(Job& job, const ModelInput& model, const Recipe& recipe, const std::vector<OutputSpec>& outputs,
                   const Plan& plan, const Samples& samples, OutputFiles& files, const Checkpoint& checkpoint,
                   const Checkpoint::State& state, const HessianUse& hessians, const CommitOptions& options, RankReport& report)
    : job_(job),
      transforms_(forward_transforms(recipe, outputs)),
      input_(model.form(transforms_)),
      other_(other_form(model, transforms_, outputs)),
      model_(input_.spec),
      recipe_(recipe),
      plan_(plan),
      samples_(samples),
      checkpoint_(checkpoint),
      state_(state),
      hessians_(hessians),
      options_(options),
      report_(report),
      propagated_(propagated_output(recipe, outputs)),
      first_(plan.layers_of(job.grid.stage()).first),
      last_(stage_ranges(plan)[static_cast<std::size_t>(job.grid.stage())].second),
      streams_(!plan.units.empty() && !propagated_ && plan.stages > 1),
      starts_(plan_starts(stage_ranges(plan), state.committed(), state.snapshot_layers())),
      start_(starts_[static_cast<std::size_t>(job.grid.stage())]),
      lines_(job.grid, stage_ranges(plan).back().second, static_cast<std::int64_t>(state.layers.size())),
      loader_(job, input_, other_),
      dense_(job, model, transforms_, outputs, plan, files),
      committer_(job, checkpoint, files, options, first_, report),
      converter_(
          job, recipe, outputs, transforms_, propagated_, files,
          [this](const std::string& module, const EncodedLinear& linear) {
            if (calibrated()) committer_.keep_codes(current_, module, linear);
          },
          report),
      row_converter_(job, model_, *input_.source, recipe, outputs, plan, converter_, files, report) {
  if (other_ != nullptr)
    other_converter_.emplace(job, recipe, outputs, other_->transforms, std::nullopt, files, BlockConverter::KeepCodes{}, report);
}

bool Pipeline::needs_output_of(std::int64_t layer) const {
  if (!calibrated()) return false;
  for (std::int64_t later = layer + 1; later < last_; ++later)
    if (!committed(later)) return true;
  return start_.sends && !streams_;
}

// Calls body(stream, unit) for each of the units, on the backend's streams.
template <typename Body>
void Pipeline::for_units(const char* phase, std::vector<UnitState>& units, Body&& body) {
  timed_collectively(*job_.grid.group, report_, phase, [&] {
    job_.backend.for_each(static_cast<std::int64_t>(units.size()), [&](Stream& stream, std::int64_t i) {
      visit(job_.backend, stream, units[static_cast<std::size_t>(i)], [&](UnitState& unit) { body(stream, unit); });
      report_.marks.mark();
    });
  });
}

std::int64_t Pipeline::calibration_tokens() const {
  std::int64_t tokens = hessians_.tokens;
  for (const UnitPlan& unit : plan_.units) tokens += unit.tokens;
  return tokens;
}

HessianSum Pipeline::begin_hessian_of(const BlockSpec& block, const BlockPlan& plan) {
  if (hessians_.from) return {};
  if (job_.grid.group->size() > 1)
    report_.hessian_bytes +=
        block.cols() * (block.cols() + 1) / 2 *
        static_cast<std::int64_t>(hessians_.sums == HessianSums::kInt64 ? sizeof(std::int64_t) : sizeof(float));
  const InputVisits inputs = [this](const auto& body) { visit_inputs(job_.backend, units_, body); };
  return begin_hessian(job_, inputs, block.cols(), static_cast<std::int64_t>(plan_.units.size()), plan.hessian_owner,
                       hessians_.sums, report_);
}

SharedHessian Pipeline::hessian_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan, HessianSum sum) {
  Communicator& group = *job_.grid.group;
  SharedHessian hessian;
  if (hessians_.from) {
    const PhaseTimer timer(report_, "read");
    collectively(group, [&] {
      if (group.rank() != plan.hessian_owner) return;
      hessian.host = hessians_.from->load(current_, index, block.cols());
    });
    return hessian;
  }
  hessian = finish_hessian(job_, std::move(sum), calibration_tokens(), plan.hessian_owner, report_);
  collectively(group, [&] {
    if (!hessians_.keep || group.rank() != plan.hessian_owner) return;
    const PhaseTimer timer(report_, "checkpoint");
    committer_.keep_file(
        hessians_.keep->save(current_, index, on_host(job_.backend, hessian, block.cols(), calibration_tokens())));
  });
  return hessian;
}

// A copy, on the host.
SharedHessian Pipeline::mapped(const SharedHessian& hessian, const std::vector<std::string>& to, std::size_t index,
                               const BlockSpec& block, const BlockPlan& plan) {
  SharedHessian out;
  const PhaseTimer timer(report_, "factor");
  collectively(*job_.grid.group, [&] {
    if (job_.grid.group->rank() != plan.hessian_owner) return;
    out.host = on_host(job_.backend, hessian, block.cols(), calibration_tokens());
    if (to != hessians_.transforms) hessians_.map(to, current_, index, out.host);
  });
  return out;
}

Pipeline::Factors Pipeline::factors_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan, HessianSum sum) {
  SharedHessian hessian = hessian_of(index, block, plan, std::move(sum)), of_other;
  const FactorOptions options{recipe_.order, recipe_.damp_percent, recipe_.damp_increment};
  Factors factors;
  const bool for_other = other_converter_ && other_converter_->converts(block);
  if (for_other) of_other = mapped(hessian, other_->transforms, index, block, plan);
  if (converter_.converts(block)) {
    if (transforms_ != hessians_.transforms) hessian = mapped(hessian, transforms_, index, block, plan);
    factors.forward = shared_factor(job_, std::move(hessian), block.cols(), plan.hessian_owner, options, report_);
    if (corrects())
      add_correction(job_, units_, originals_, static_cast<std::int64_t>(plan_.units.size()), plan.hessian_owner,
                     recipe_.gptaq_alpha, factors.forward, report_);
  }
  if (for_other) factors.other = shared_factor(job_, std::move(of_other), block.cols(), plan.hessian_owner, options, report_);
  return factors;
}

Pipeline::Factors Pipeline::factors_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan) {
  return factors_of(index, block, plan, begin_hessian_of(block, plan));
}

// factors: null for methods without calibration.
void Pipeline::convert_block(const BlockSpec& block, const BlockPlan& plan, Linears weights, Linears other,
                             const Factors* factors) {
  const auto matrices = [](Linears linears) {
    std::vector<ConstMatrix> out;
    for (const LinearWeights& linear : linears) out.push_back(linear.matrix());
    return out;
  };
  if (other_converter_) {
    const Factor* factor = factors != nullptr && factors->other ? &*factors->other : nullptr;
    other_converter_->convert(block, plan, matrices(other), factor, calibration_tokens(), {});
  }
  std::vector<Matrix> decoded;
  if (propagated_ && calibrated())
    for (const LinearWeights& linear : weights) decoded.push_back(linear.matrix());
  converter_.convert(block, plan, matrices(weights), factors != nullptr ? &factors->forward : nullptr, calibration_tokens(),
                     decoded);
}

// forward_whole: some later step needs the output of this layer.
void Pipeline::quantize_layer(const LayerSpec& layer, const LayerPlan& plan, Forms<LayerWeights>& weights, bool forward_whole) {
  const auto convert = [&](std::size_t b, const std::optional<Factors>& factors) {
    convert_block(layer.blocks[b], plan.blocks[b], weights.forward.blocks[b],
                  weights.other ? Linears(weights.other->blocks[b]) : Linears(), factors ? &*factors : nullptr);
  };
  if (!calibrated()) {
    for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
      std::optional<Factors> factors;
      if (hessians_.from && converts(layer.blocks[b])) factors = factors_of(b, layer.blocks[b], plan.blocks[b]);
      convert(b, factors);
    }
    return;
  }
  // With the quantized weights of the whole layer the forward pass starts again from here.
  const bool again = !recipe_.true_sequential && propagated_.has_value();
  std::vector<std::vector<float>> entered;
  if (again) {
    entered.resize(units_.size());
    job_.backend.for_each(static_cast<std::int64_t>(units_.size()), [&](Stream& stream, std::int64_t i) {
      const UnitState& unit = units_[static_cast<std::size_t>(i)];
      entered[static_cast<std::size_t>(i)].resize(static_cast<std::size_t>(unit.tokens * model_.hidden));
      get_hidden(job_.backend, stream, unit, entered[static_cast<std::size_t>(i)]);
    });
  }
  std::vector<std::optional<Factors>> factors(layer.blocks.size());
  const auto begin = [&](Stream& stream, UnitState& unit) { decoder_->begin(stream, weights.forward, unit); };
  for_units("forward", units_, begin);
  if (corrects()) for_units("forward", originals_, begin);
  // Where the forward pass does not wait for converted weights, it goes on while a device's communicator sums the Hessian.
  const bool overlaps = (again || !propagated_) && job_.backend.space() == MemSpace::kDevice;
  for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
    const BlockSpec& block = layer.blocks[b];
    const bool goes_on = b + 1 < layer.blocks.size();
    const bool originals_go_on = corrects() && (goes_on || forward_whole);
    const auto advance = [&](Stream& stream, UnitState& unit) { decoder_->advance(stream, layer, weights.forward, b, unit); };
    const auto use = [&](HessianSum sum) {
      factors[b] = factors_of(b, block, plan.blocks[b], std::move(sum));
      if (originals_go_on) for_units("forward", originals_, advance);  // before the weights are replaced
      if (again) return;
      convert(b, factors[b]);
      factors[b].reset();
    };
    std::optional<HessianSum> sum;
    if (watches(block)) sum = begin_hessian_of(block, plan.blocks[b]);
    if (!sum && originals_go_on) for_units("forward", originals_, advance);
    if (sum && !overlaps) use(*std::exchange(sum, std::nullopt));
    if (goes_on || (!again && forward_whole)) for_units("forward", units_, advance);
    if (sum) use(std::move(*sum));
  }
  for (const UnitState& unit : units_) report_.tokens += unit.tokens;
  if (!again) return;
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    if (factors[b]) convert(b, factors[b]);
  if (!forward_whole) return;
  for (UnitState& unit : units_) unit.input = {};
  job_.backend.for_each(static_cast<std::int64_t>(units_.size()), [&](Stream& stream, std::int64_t i) {
    set_hidden(job_.backend, stream, entered[static_cast<std::size_t>(i)], units_[static_cast<std::size_t>(i)]);
  });
  for_units("forward", units_,
            [&](Stream& stream, UnitState& unit) { decoder_->run_layer(stream, layer, weights.forward, unit); });
}

// The head sees the final norm of the last layer's output.
void Pipeline::quantize_head() {
  const BlockSpec block{"head", {model_.head}};
  const BlockPlan& plan = plan_.head->blocks.front();
  const Forms<LinearWeights> weights = loader_.load_head();
  const Linears forward(&weights.forward, 1), other = weights.other ? Linears(&*weights.other, 1) : Linears();
  Forms<VectorWeights> norm;
  if (calibrated()) norm = loader_.load_final_norm();
  LoadedForms loaded;
  const auto add = [&](const ModelInput& form, const LinearWeights& head, const VectorWeights* of_norm) {
    LoadedTensors& tensors = loaded[form.transforms];
    tensors[form.spec.head_weight()] = head.matrix();
    if (of_norm != nullptr) tensors[model_.final_norm] = of_norm->buffer.matrix(of_norm->size, 1);
  };
  add(input_, weights.forward, calibrated() ? &norm.forward : nullptr);
  if (other_ != nullptr) add(*other_, *weights.other, norm.other ? &*norm.other : nullptr);
  write_dense(current_, loaded);
  if (!calibrated()) {
    std::optional<Factors> factors;
    if (hessians_.from && converts(block)) factors = factors_of(0, block, plan);
    return convert_block(block, plan, forward, other, factors ? &*factors : nullptr);
  }
  for (std::vector<UnitState>* units : {&units_, &originals_})
    for_units("forward", *units, [&](Stream& stream, UnitState& unit) {
      unit.input = job_.backend.allocate(static_cast<std::size_t>(unit.tokens * model_.hidden) * sizeof(float));
      unit.input_cols = model_.hidden;
      decoder_->final_norm(stream, unit.hidden_matrix(model_.hidden), norm.forward, unit.input_matrix());
    });
  const Factors factors = factors_of(0, block, plan);
  convert_block(block, plan, forward, other, &factors);
}

void Pipeline::replay_layer(const LayerSpec& layer, std::optional<Forms<LayerWeights>> resident) {
  const auto run = [&](const LayerWeights& with, std::vector<UnitState>& units) {
    for_units("replay", units, [&](Stream& stream, UnitState& unit) { decoder_->run_layer(stream, layer, with, unit); });
  };
  LayerWeights weights;
  if (corrects()) {
    {
      const PhaseTimer timer(report_, "read");
      weights = loader_.load_forward(layer);
    }
    run(weights, originals_);
  }
  {
    const PhaseTimer timer(report_, "read");
    if (resident) {
      weights = std::move(resident->forward);
    } else if (propagated_) {
      CodesReader codes(checkpoint_.folder(), state_.codes);
      weights = loader_.load_decoded(layer, codes, converter_.propagated_codecs(layer));
    } else {
      weights = loader_.load_forward(layer);
    }
  }
  run(weights, units_);
  ++report_.layers_replayed;
}

void Pipeline::write_dense(std::int64_t layer, const LoadedForms& loaded) {
  timed_collectively(*job_.grid.group, report_, "write", [&] { dense_.write_layer(layer, loaded); });
}

// True if the layer (or the head) could be converted by rows, without its weights as a whole.
bool Pipeline::convert_rows(std::int64_t layer) {
  const bool head = layer == static_cast<std::int64_t>(model_.layers.size());
  const BlockSpec head_block{"head", {model_.head}};
  const std::span<const BlockSpec> blocks =
      head ? std::span(&head_block, 1) : std::span(model_.layers[static_cast<std::size_t>(layer)].blocks);
  if (!row_converter_.takes(blocks)) return false;
  write_dense(layer, {});
  const LayerPlan& plan = head ? *plan_.head : plan_.layers[static_cast<std::size_t>(layer)];
  converter_.add_records(row_converter_.convert(blocks, plan.blocks));
  return true;
}

void Pipeline::run_layer(std::int64_t index, std::optional<Forms<LayerWeights>> resident) {
  const auto start = std::chrono::steady_clock::now();
  current_ = index;
  if (convert_rows(index)) return commit(index, start);
  if (index == static_cast<std::int64_t>(model_.layers.size())) {
    quantize_head();
  } else {
    const LayerSpec& layer = model_.layers[static_cast<std::size_t>(index)];
    if (committed(index)) return replay_layer(layer, std::move(resident));
    Forms<LayerWeights> weights;
    if (resident) {
      weights = std::move(*resident);
    } else {
      const PhaseTimer timer(report_, "read");
      weights = loader_.load(layer);
      const std::int64_t next = index + 1;
      if (next < last_ && next < static_cast<std::int64_t>(model_.layers.size()) && !committed(next))
        loader_.prefetch(model_.layers[static_cast<std::size_t>(next)]);
    }
    LoadedForms loaded = {{transforms_, loaded_tensors(layer, weights.forward)}};
    if (weights.other) loaded[other_->transforms] = loaded_tensors(layer, *weights.other);
    write_dense(index, loaded);
    quantize_layer(layer, plan_.layers[static_cast<std::size_t>(index)], weights, needs_output_of(index));
  }
  commit(index, start);
}

void Pipeline::commit(std::int64_t layer, std::chrono::steady_clock::time_point start) {
  timed_collectively(*job_.grid.group, report_, "write", [&] {
    converter_.settle();
    if (other_converter_) other_converter_->settle();
  });
  std::map<std::string, std::string> codes;
  if (propagated_ && calibrated() && layer < static_cast<std::int64_t>(model_.layers.size())) {
    const LayerSpec& spec = model_.layers[static_cast<std::size_t>(layer)];
    const auto codecs = converter_.propagated_codecs(spec);
    const auto& blocks = plan_.layers[static_cast<std::size_t>(layer)].blocks;
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (std::size_t l = 0; l < blocks[b].writers.size(); ++l)
        if (const std::string& module = spec.blocks[b].linears[l].module; codecs.contains(module))
          codes[module] = Checkpoint::codes_name(layer, job_.grid.shape.rank_of(job_.grid.stage(), blocks[b].writers[l]));
  }
  std::optional<Committer::Hidden> hidden;
  if (needs_output_of(layer)) {
    hidden.emplace(Committer::Hidden{states(), {}, model_.hidden});
    const std::size_t units = plan_.units.size();
    for (std::size_t state = 0; state < (corrects() ? 2 * units : units); ++state)
      hidden->all_files[static_cast<std::int64_t>(state)] =
          Checkpoint::hidden_name(layer + 1, job_.grid.shape.rank_of(job_.grid.stage(), plan_.units[state % units].replica));
  }
  std::vector<TensorRecord> mine = converter_.take_records();
  if (other_converter_)
    for (TensorRecord& record : other_converter_->take_records()) mine.push_back(std::move(record));
  records_.insert(records_.end(), mine.begin(), mine.end());
  report_layer(committer_.layer_done(layer, mine, codes, hidden), start);
}

void Pipeline::report_layer(const std::vector<TensorRecord>& records, std::chrono::steady_clock::time_point start) {
  Communicator& group = *job_.grid.group;
  const double busy = busy_seconds(report_) - std::exchange(busy_before_, busy_seconds(report_));
  std::vector<double> all(static_cast<std::size_t>(group.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof(double));
  group.all_gather_v(bytes_of(std::span(&busy, 1)), counts, bytes_of(all));
  double loss = 0, damping = 0;
  for (const TensorRecord& record : records) {
    loss += record.error;
    damping = std::max(damping, record.damp_percent);
  }
  const auto slowest = std::max_element(all.begin(), all.end()) - all.begin();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  lines_.layer_done(fmt::format("loss {:.4g}, damping {:.2g}, {:.1f} s, slowest rank {} ({:.1f} s)", loss, damping, took.count(),
                                job_.grid.shape.rank_of(job_.grid.stage(), static_cast<int>(slowest)),
                                all[static_cast<std::size_t>(slowest)]));
}

// What is done already, of all stages.
void Pipeline::tell_start() const {
  if (job_.world.rank() != 0 || state_.layers.empty()) return;
  std::int64_t replayed = 0;
  const auto ranges = stage_ranges(plan_);
  for (std::size_t stage = 0; stage < ranges.size(); ++stage)
    for (std::int64_t layer = starts_[stage].first; layer < ranges[stage].second; ++layer)
      if (calibrated() && starts_[stage].from != HiddenFrom::kNowhere && committed(layer)) ++replayed;
  info_line("{} layers are skipped and {} replayed", std::ssize(state_.layers) - replayed, replayed);
}

void Pipeline::run() {
  tell_start();
  write_first();
  std::optional<Error> stopped;
  try {
    run_stage();
  } catch (const AgreedError& error) {
    if (error.code() != ExitCode::kStopped) throw;
    stopped = error;
  }
  lines_.end_stage();
  // Stages end hours apart, and one that was asked to stop first finishes its layer.
  std::int64_t stops = stopped ? 1 : 0;
  Pending meeting = job_.world.start_all_reduce_max(Buffer<std::int64_t>(std::span(&stops, 1)));
  if (stopped) meeting.wait();  // within the deadline: a stage that no signal reached does not stop
  for (BackOff back_off; !meeting.test(); back_off.pause()) {
    lines_.poll();
    report_.marks.mark();
  }
  lines_.end();
  if (stops != 0) agree(job_.world, stopped);
}

// Of a layer that is done, its weights pass activations alone.
Forms<LayerWeights> Pipeline::load_resident(std::int64_t layer) {
  const LayerSpec& spec = model_.layers[static_cast<std::size_t>(layer)];
  if (committed(layer)) return {loader_.load_forward(spec), std::nullopt};
  return loader_.load(spec);
}

void Pipeline::run_stage() {
  std::vector<Forms<LayerWeights>> resident;
  const std::int64_t layers_end = std::min(last_, static_cast<std::int64_t>(model_.layers.size()));
  report_.layers_skipped = std::count_if(state_.layers.begin(), state_.layers.end(), [this](const auto& layer) {
    return layer.first >= first_ && layer.first < (calibrated() ? start_.first : last_);
  });
  if (calibrated() && start_.from != HiddenFrom::kNowhere) {
    collectively(*job_.grid.group, [&] { make_units(); });
    if (streams_)
      for (std::int64_t l = start_.first; l < layers_end; ++l) resident.push_back(load_resident(l));
    if (streams_) {
      stream_originals(resident);
    } else {
      enter();
    }
  }
  for (std::int64_t l = start_.first; l < last_; ++l) {
    if (committed(l) && !needs_output_of(l)) continue;
    std::optional<Forms<LayerWeights>> weights;
    if (streams_ && l < layers_end) weights = std::move(resident[static_cast<std::size_t>(l - start_.first)]);
    run_layer(l, std::move(weights));
  }
  committer_.finish();
  if (start_.sends && !streams_)
    for (std::size_t turn = 0, end = turns(); turn < end; ++turn) send_unit(turn);
}

}  // namespace mpiquant
