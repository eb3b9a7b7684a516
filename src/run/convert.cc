#include "src/run/convert.h"

#include <algorithm>
#include <cstring>

#include "src/quant/encoded.h"
#include "src/run/timed.h"

namespace mpiquant {
namespace {

// What is recorded of a linear: all its parts.
TensorRecord record_of(const LinearSpec& linear, const BlockConverter::Variant& variant, std::span<const EncodedRows> parts,
                       const Factor* factor, std::int64_t tokens) {
  TensorRecord record;
  record.module = linear.module;
  record.codec = to_string(variant.codec);
  record.outputs = variant.outputs;
  for (const EncodedRows& rows : parts) {
    for (const double loss : rows.loss) record.error += loss;
    record.scale_underflows += rows.scale_underflows;
    record.scale_overflows += rows.scale_overflows;
  }
  if (factor == nullptr) return record;
  record.error *= 2.0 / static_cast<double>(tokens);  // the sweep's loss is half the error, of the sum over tokens
  record.damp_percent = factor->damp_percent;
  record.damp_retries = factor->retries;
  record.dead_columns = std::count(factor->dead.begin(), factor->dead.end(), 1);
  return record;
}

}  // namespace

BlockConverter::BlockConverter(Job& job, const Recipe& recipe, const std::vector<OutputSpec>& outputs,
                               const std::vector<std::string>& transforms, std::optional<std::size_t> propagated,
                               OutputFiles& files, KeepCodes keep_codes, RankReport& report)
    : job_(job),
      recipe_(recipe),
      outputs_(outputs),
      transforms_(transforms),
      propagated_(propagated),
      files_(files),
      keep_codes_(std::move(keep_codes)),
      report_(report) {}

std::vector<BlockConverter::Variant> BlockConverter::variants_of(const LinearSpec& linear) const {
  std::vector<Variant> variants;
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    if (outputs_[o].transforms != transforms_) continue;
    const auto& linears = outputs_[o].linears;
    const auto choice =
        std::find_if(linears.begin(), linears.end(), [&](const LinearChoice& c) { return c.linear.module == linear.module; });
    if (choice == linears.end()) continue;
    auto variant = std::find_if(variants.begin(), variants.end(), [&](const Variant& v) { return v.codec == choice->codec; });
    if (variant == variants.end()) variant = variants.insert(variants.end(), Variant{choice->codec, {}, false});
    variant->outputs.push_back(o);
    if (propagated_ == o) variant->propagated = true;
  }
  // The propagated one last: its decoded rows may take the place of the weights that the others are made from.
  std::stable_partition(variants.begin(), variants.end(), [](const Variant& variant) { return !variant.propagated; });
  return variants;
}

std::map<std::string, CodecSpec> BlockConverter::propagated_codecs(const LayerSpec& layer) const {
  std::map<std::string, CodecSpec> codecs;
  for (const BlockSpec& block : layer.blocks)
    for (const LinearSpec& linear : block.linears)
      for (const Variant& variant : variants_of(linear))
        if (variant.propagated) codecs[linear.module] = variant.codec;
  return codecs;
}

bool BlockConverter::converts(const BlockSpec& block) const {
  return std::any_of(block.linears.begin(), block.linears.end(),
                     [this](const LinearSpec& linear) { return !variants_of(linear).empty(); });
}

std::vector<BlockConverter::Task> BlockConverter::tasks_of(const BlockSpec& block, const BlockPlan& plan) const {
  std::vector<Task> tasks;
  for (std::size_t l = 0; l < block.linears.size(); ++l)
    for (Variant& variant : variants_of(block.linears[l])) {
      Task& task = tasks.emplace_back(Task{l, std::move(variant), {}});
      for (const PartPlan& part : plan.parts)
        if (part.linear == static_cast<int>(l) && part.replica == job_.grid.group->rank()) task.mine.push_back(&part);
      task.encoded.resize(task.mine.size());
    }
  return tasks;
}

// Parts of one codec are swept together as far as the backend wants that.
void BlockConverter::encode(std::span<Task> tasks, std::span<const ConstMatrix> weights, const Factor* factor) {
  struct Batch {
    CodecSpec codec;
    std::int64_t rows = 0;
    std::vector<ConstMatrix> parts;
    std::vector<EncodedRows*> results;
  };
  const Method& method = find_method(recipe_.method);
  const std::int64_t limit = method.needs_hessian ? job_.backend.group_rows() : 0;
  std::vector<Batch> batches;
  for (Task& task : tasks)
    for (std::size_t i = 0; i < task.mine.size(); ++i) {
      const PartPlan& part = *task.mine[i];
      auto batch = std::find_if(batches.begin(), batches.end(), [&](const Batch& open) {
        return open.codec == task.variant.codec && open.rows + part.rows <= limit;
      });
      if (batch == batches.end()) batch = batches.insert(batches.end(), Batch{task.variant.codec, 0, {}, {}});
      batch->rows += part.rows;
      batch->parts.push_back(weights[task.linear].row_range(part.row_begin, part.row_begin + part.rows));
      batch->results.push_back(&task.encoded[i]);
      report_.rows_swept += part.rows;
    }
  job_.backend.for_each(static_cast<std::int64_t>(batches.size()), [&](Stream& stream, std::int64_t b) {
    const Batch& batch = batches[static_cast<std::size_t>(b)];
    std::vector<EncodedRows> rows = method.convert(job_.backend, stream, batch.parts, factor, batch.codec);
    for (std::size_t i = 0; i < rows.size(); ++i) *batch.results[i] = std::move(rows[i]);
    report_.marks.mark();
  });
  for (Task& task : tasks) {
    // What is still on the device stays as it is, too; otherwise codes are held but once.
    task.keeps = std::any_of(task.encoded.begin(), task.encoded.end(), [](const auto& rows) { return rows.resident; });
    for (std::size_t i = 0; i < task.mine.size(); ++i) {
      EncodedRows& rows = task.encoded[i];
      rows.row_begin = task.mine[i]->row_begin;
      if (task.keeps && job_.grid.group->size() == 1) continue;
      const std::vector<std::byte> bytes = to_bytes(rows);
      task.message.insert(task.message.end(), bytes.begin(), bytes.end());
      if (!task.keeps) rows = {};
    }
  }
}

// All parts of a linear by row, out of the replicas' messages.
std::vector<EncodedRows> BlockConverter::assemble(Task& task, const LinearSpec& linear, const BlockPlan& plan,
                                                  const std::vector<std::vector<std::byte>>& messages) const {
  std::vector<EncodedRows> parts;
  std::vector<std::span<const std::byte>> rest(messages.begin(), messages.end());
  std::size_t next = 0;
  for (const PartPlan& part : plan.parts) {
    if (part.linear != static_cast<int>(task.linear)) continue;
    if (task.keeps && part.replica == job_.grid.group->rank()) {
      parts.push_back(std::move(task.encoded[next++]));
      continue;
    }
    auto& sender = rest[static_cast<std::size_t>(part.replica)];
    const auto size = static_cast<std::size_t>(encoded_bytes(task.variant.codec, part.rows, linear.cols));
    expect(size <= sender.size(), "{}: a message from replica {} is too short", linear.module, part.replica);
    parts.push_back(encoded_from_bytes(sender.first(size)));
    sender = sender.subspan(size);
  }
  return parts;
}

void BlockConverter::convert(const BlockSpec& block, const BlockPlan& plan, std::span<const ConstMatrix> weights,
                             const Factor* factor, std::int64_t tokens, std::span<const Matrix> decoded) {
  Communicator& group = *job_.grid.group;
  const bool beside = job_.backend.space() == MemSpace::kDevice;
  std::vector<Task> tasks = tasks_of(block, plan);
  // A backend that sweeps groups gets all linears at once; else no more than one is held in codes.
  const std::size_t at_once = job_.backend.group_rows() > 0 ? std::max<std::size_t>(1, tasks.size()) : 1;
  for (std::size_t first = 0; first < tasks.size(); first += at_once) {
    const std::span<Task> batch = std::span(tasks).subspan(first, std::min(at_once, tasks.size() - first));
    timed_collectively(group, report_, "sweep", [&] { encode(batch, weights, factor); });
    for (Task& task : batch) {
      const LinearSpec& linear = block.linears[task.linear];
      // Parts travel to the writer, or to everybody when their decoded rows are the weights from here on.
      const bool to_all = task.variant.propagated && !decoded.empty();
      const int writer = plan.writers[task.linear];
      std::vector<std::vector<std::byte>> messages;
      {
        const PhaseTimer timer(report_, "gather");
        messages = to_all ? all_gather_bytes(group, task.message) : gather_bytes(group, task.message, writer);
      }
      task.message = {};
      timed_collectively(group, report_, "write", [&] {
        if (messages.empty()) return;
        std::vector<EncodedRows> parts = assemble(task, linear, plan, messages);
        if (to_all) {
          const std::vector<std::int32_t> g_idx = group_index(task.variant.codec, factor, linear.cols);
          job_.backend.for_each(static_cast<std::int64_t>(parts.size()), [&](Stream& stream, std::int64_t i) {
            const EncodedRows& rows = parts[static_cast<std::size_t>(i)];
            job_.backend.decode(stream, rows, task.variant.codec, g_idx,
                                decoded[task.linear].row_range(rows.row_begin, rows.row_begin + rows.rows));
          });
        }
        if (group.rank() != writer) return;
        records_.push_back(record_of(linear, task.variant, parts, factor, tokens));
        for (EncodedRows& rows : parts) rows.resident.reset();
        Written whole{linear, task.variant, std::move(parts), group_index(task.variant.codec, factor, linear.cols)};
        if (beside)
          waiting_.push_back(std::move(whole));
        else
          write(std::move(whole));
      });
    }
  }
  if (!beside) return;
  // The device goes on while the block is packed and written; of a form, codes of two blocks are held at most.
  timed_collectively(group, report_, "write", [&] {
    settle();
    writing_ = std::async(std::launch::async, [this, linears = std::exchange(waiting_, {})]() mutable {
      for (Written& linear : linears) write(std::move(linear));
    });
  });
}

// Packs the linear for every output of the variant, and writes it.
void BlockConverter::write(Written written) {
  const LinearSpec& linear = written.linear;
  const Variant& variant = written.variant;
  EncodedLinear whole{variant.codec, linear.rows, linear.cols, {}, {}, std::move(written.g_idx)};
  whole.codes.reserve(static_cast<std::size_t>(linear.rows * linear.cols));
  whole.params.reserve(static_cast<std::size_t>(linear.rows * variant.codec.groups(linear.cols)));
  std::int64_t next_row = 0;
  for (EncodedRows& rows : written.parts) {
    expect(rows.row_begin == next_row, "{}: rows from {} are missing", linear.module, next_row);
    next_row += rows.rows;
    whole.codes.insert(whole.codes.end(), rows.codes.begin(), rows.codes.end());
    whole.params.insert(whole.params.end(), rows.params.begin(), rows.params.end());
    rows = {};
  }
  expect(next_row == linear.rows, "{}: {} of {} rows arrived", linear.module, next_row, linear.rows);
  for (const std::size_t output : variant.outputs) files_.write_linear(output, linear.module, whole);
  if (variant.propagated && keep_codes_) keep_codes_(linear.module, whole);
}

void BlockConverter::settle() {
  if (writing_.valid()) writing_.get();
}

}  // namespace mpiquant
