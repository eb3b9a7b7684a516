#include "src/run/convert_rows.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "kernels/codec/rows.h"
#include "src/base/error.h"
#include "src/model/weights.h"
#include "src/run/timed.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kValues = 1 << 15;  // in fp32 at a time: they stay in a core's cache

}  // namespace

RowConverter::RowConverter(Job& job, const ModelSpec& model, const TensorSource& source, const Recipe& recipe,
                           const std::vector<OutputSpec>& outputs, const BlockConverter& converter, OutputFiles& files,
                           RankReport& report)
    : job_(job),
      model_(model),
      source_(source),
      recipe_(recipe),
      outputs_(outputs),
      converter_(converter),
      files_(files),
      report_(report) {}

bool RowConverter::takes(std::span<const BlockSpec> blocks) const {
  if (recipe_.method != "rtn" || recipe_.mse) return false;
  for (const BlockSpec& block : blocks)
    for (const LinearSpec& linear : block.linears)
      for (const BlockConverter::Variant& variant : converter_.variants_of(linear))
        for (const std::size_t output : variant.outputs)
          if (!find_container(outputs_[output].container).packs_parts(model_, linear)) return false;
  return true;
}

std::string RowConverter::tensor_of(const LinearSpec& linear) const {
  return linear.role == Role::kHead ? model_.head_weight() : linear.weight();
}

// Codes and parameters of a part, from the rows as they are stored in the source; appends to the errors.
void RowConverter::encode(const LinearSpec& linear, const PartPlan& part, const CodecSpec& codec, Scratch& scratch,
                          std::vector<double>& errors) const {
  const std::string tensor = tensor_of(linear);
  const DType dtype = source_.at(tensor).dtype.value();
  const auto cols = static_cast<std::size_t>(linear.cols), groups = static_cast<std::size_t>(codec.groups(linear.cols));
  const std::size_t row_bytes = cols * size_of(dtype);
  const std::int64_t step = std::max<std::int64_t>(1, kValues / linear.cols);
  scratch.codes.resize(static_cast<std::size_t>(part.rows) * cols);
  scratch.params.resize(static_cast<std::size_t>(part.rows) * groups);
  double underflows = 0, overflows = 0;
  for (std::int64_t first = 0; first < part.rows; first += step) {
    const auto begin = static_cast<std::size_t>(first), rows = static_cast<std::size_t>(std::min(step, part.rows - first));
    scratch.values.resize(rows * cols);
    to_f32(dtype, std::span(scratch.stored).subspan(begin * row_bytes, rows * row_bytes), scratch.values);
    if (!codec::all_finite(scratch.values))  // this says where
      load_rows(source_, tensor, linear.cols, part.row_begin + first, part.row_begin + first + static_cast<std::int64_t>(rows),
                scratch.values);
    for (std::size_t r = 0; r < rows; ++r) {
      const codec::RowError error = codec::round_row(codec, std::span(scratch.values).subspan(r * cols, cols),
                                                     std::span(scratch.codes).subspan((begin + r) * cols, cols),
                                                     std::span(scratch.params).subspan((begin + r) * groups, groups));
      errors.push_back(error.loss);
      underflows += static_cast<double>(error.scale_underflows);
      overflows += static_cast<double>(error.scale_overflows);
    }
  }
  errors.push_back(underflows);
  errors.push_back(overflows);
}

std::vector<double> RowConverter::convert_part(const LinearSpec& linear, const PartPlan& part, Scratch& scratch) const {
  std::vector<double> errors;
  const std::vector<BlockConverter::Variant> variants = converter_.variants_of(linear);
  if (variants.empty()) return errors;
  const std::string tensor = tensor_of(linear);
  const auto row_bytes = linear.cols * static_cast<std::int64_t>(size_of(source_.at(tensor).dtype.value()));
  scratch.stored.resize(static_cast<std::size_t>(part.rows * row_bytes));
  source_.read_raw(tensor, part.row_begin * row_bytes, scratch.stored);
  for (const BlockConverter::Variant& variant : variants) {
    encode(linear, part, variant.codec, scratch, errors);
    for (const std::size_t output : variant.outputs)
      files_.write_rows(output, linear, variant.codec, part.row_begin, part.rows, scratch.codes, scratch.params, scratch.packed);
  }
  return errors;
}

std::vector<TensorRecord> RowConverter::convert(std::span<const BlockSpec> blocks, std::span<const BlockPlan> plans) {
  Communicator& group = *job_.grid.group;
  struct Task {
    const LinearSpec* linear;
    const PartPlan* part;
  };
  std::vector<Task> mine;
  for (std::size_t b = 0; b < blocks.size(); ++b)
    for (const PartPlan& part : plans[b].parts)
      if (part.replica == group.rank()) mine.push_back({&blocks[b].linears[static_cast<std::size_t>(part.linear)], &part});

  std::vector<double> errors;  // of my parts, one after the other
  timed_collectively(group, report_, "sweep", [&] {
    std::vector<std::vector<double>> of_part(mine.size());
    std::mutex mutex;
    std::vector<Scratch> idle;
    job_.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream&, std::int64_t i) {
      Scratch scratch;
      {
        const std::lock_guard lock(mutex);
        if (!idle.empty()) {
          scratch = std::move(idle.back());
          idle.pop_back();
        }
      }
      const Task& task = mine[static_cast<std::size_t>(i)];
      of_part[static_cast<std::size_t>(i)] = convert_part(*task.linear, *task.part, scratch);
      report_.marks.mark();
      const std::lock_guard lock(mutex);
      idle.push_back(std::move(scratch));
    });
    for (const auto& part : of_part) errors.insert(errors.end(), part.begin(), part.end());
    for (const Task& task : mine)
      report_.rows_swept += task.part->rows * static_cast<std::int64_t>(converter_.variants_of(*task.linear).size());
  });

  const auto all = all_gather_bytes(group, std::as_bytes(std::span<const double>(errors)));
  std::vector<TensorRecord> records;
  std::vector<std::size_t> at(all.size(), 0);  // bytes taken of each replica's errors
  const auto next = [&](int replica) {
    double value = 0;
    const auto r = static_cast<std::size_t>(replica);
    expect(at[r] + sizeof value <= all[r].size(), "replica {} sent too few errors", replica);
    std::memcpy(&value, all[r].data() + at[r], sizeof value);
    at[r] += sizeof value;
    return value;
  };
  for (std::size_t b = 0; b < blocks.size(); ++b)
    for (std::size_t l = 0; l < blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = blocks[b].linears[l];
      std::vector<TensorRecord> of_linear;
      for (const BlockConverter::Variant& variant : converter_.variants_of(linear)) {
        TensorRecord& record = of_linear.emplace_back();
        record.module = linear.module;
        record.codec = to_string(variant.codec);
        record.outputs = variant.outputs;
      }
      for (const PartPlan& part : plans[b].parts) {
        if (part.linear != static_cast<int>(l)) continue;
        for (TensorRecord& record : of_linear) {
          for (std::int64_t row = 0; row < part.rows; ++row) record.error += next(part.replica);
          record.scale_underflows += static_cast<std::int64_t>(next(part.replica));
          record.scale_overflows += static_cast<std::int64_t>(next(part.replica));
        }
      }
      if (plans[b].writers[l] == group.rank()) records.insert(records.end(), of_linear.begin(), of_linear.end());
    }
  return records;
}

}  // namespace mpiquant
