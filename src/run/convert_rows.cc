#include "src/run/convert_rows.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "kernels/codec/rows.h"
#include "src/base/error.h"
#include "src/model/weights.h"
#include "src/plan/rank_cost.h"
#include "src/run/timed.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kPieceValues = 1 << 16;  // read, rounded, packed and written at a time: they stay in a core's cache

}  // namespace

RowConverter::RowConverter(Job& job, const ModelSpec& model, const TensorSource& source, const Recipe& recipe,
                           const std::vector<OutputSpec>& outputs, const Plan& plan, const BlockConverter& converter,
                           OutputFiles& files, RankReport& report)
    : job_(job),
      model_(model),
      source_(source),
      recipe_(recipe),
      outputs_(outputs),
      converter_(converter),
      files_(files),
      report_(report) {
  for (const SlabPlan& slab : plan.slabs)
    if (slab.with_part && slab.rank == job.world.rank()) dense_[{slab.tensor, slab.row_begin}] = &slab;
}

bool RowConverter::takes(std::span<const BlockSpec> blocks) const { return converts_by_rows(recipe_, model_, outputs_, blocks); }

std::string RowConverter::tensor_of(const LinearSpec& linear) const {
  return linear.role == Role::kHead ? model_.head_weight() : linear.weight();
}

// Codes and parameters of rows, from what the source stores of them.
void RowConverter::encode(const LinearSpec& linear, std::int64_t row_begin, std::int64_t rows, const CodecSpec& codec,
                          Scratch& scratch, Errors& errors) const {
  const std::string tensor = tensor_of(linear);
  const DType dtype = source_.at(tensor).dtype.value();
  const auto cols = static_cast<std::size_t>(linear.cols), groups = static_cast<std::size_t>(codec.groups(linear.cols));
  const std::size_t row_bytes = cols * size_of(dtype);
  scratch.values.resize(cols);
  scratch.codes.resize(static_cast<std::size_t>(rows) * cols);
  scratch.params.resize(static_cast<std::size_t>(rows) * groups);
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
    const std::int64_t row = row_begin + static_cast<std::int64_t>(r);
    if (!codec::load_finite(dtype, std::span(scratch.stored).subspan(r * row_bytes, row_bytes), scratch.values))
      load_rows(source_, tensor, linear.cols, row, row + 1, scratch.values);  // this says where
    const codec::RowError error = codec::round_row(codec, scratch.values, std::span(scratch.codes).subspan(r * cols, cols),
                                                   std::span(scratch.params).subspan(r * groups, groups));
    errors.of_rows.push_back(error.loss);
    errors.underflows += static_cast<double>(error.scale_underflows);
    errors.overflows += static_cast<double>(error.scale_overflows);
  }
}

void RowConverter::write_dense(const SlabPlan& slab, std::int64_t row_begin, std::int64_t rows, DType dtype,
                               const Scratch& scratch) {
  const auto row_bytes = static_cast<std::size_t>(slab.cols) * size_of(dtype);
  const auto read = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
    const std::span<const std::byte> stored =
        std::span(scratch.stored)
            .subspan(static_cast<std::size_t>(begin - row_begin) * row_bytes, static_cast<std::size_t>(end - begin) * row_bytes);
    expect(codec::load_finite(dtype, stored, out), "rows from {} are not finite, which their conversion has seen", begin);
  };
  for (const SlabTarget& target : slab.targets) files_.write_slab(target, row_begin, row_begin + rows, read);
}

std::vector<double> RowConverter::convert_part(const LinearSpec& linear, const PartPlan& part, Scratch& scratch) {
  const std::vector<BlockConverter::Variant> variants = converter_.variants_of(linear);
  if (variants.empty()) return {};
  const std::string tensor = tensor_of(linear);
  const DType dtype = source_.at(tensor).dtype.value();
  const auto row_bytes = linear.cols * static_cast<std::int64_t>(size_of(dtype));
  const auto dense = dense_.find({tensor, part.row_begin});
  // Containers may reorder rows within the heads of queries and keys, which are packed as wholes.
  const std::int64_t together = linear.role == Role::kQuery || linear.role == Role::kKey ? model_.head_dim : 1;
  const std::int64_t step = std::max<std::int64_t>(1, kPieceValues / (linear.cols * together)) * together;
  std::vector<Errors> errors(variants.size());
  for (std::int64_t first = part.row_begin; first < part.row_begin + part.rows; first += step) {
    const std::int64_t rows = std::min(step, part.row_begin + part.rows - first);
    scratch.stored.resize(static_cast<std::size_t>(rows * row_bytes));
    source_.read_raw(tensor, first * row_bytes, scratch.stored);
    for (std::size_t v = 0; v < variants.size(); ++v) {
      encode(linear, first, rows, variants[v].codec, scratch, errors[v]);
      for (const std::size_t output : variants[v].outputs)
        files_.write_rows(output, linear, variants[v].codec, first, rows, scratch.codes, scratch.params, scratch.packed);
    }
    if (dense != dense_.end()) write_dense(*dense->second, first, rows, dtype, scratch);
  }
  std::vector<double> all;
  for (const Errors& of_variant : errors) {
    all.insert(all.end(), of_variant.of_rows.begin(), of_variant.of_rows.end());
    all.push_back(of_variant.underflows);
    all.push_back(of_variant.overflows);
  }
  return all;
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
    job_.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream&, std::int64_t i) {
      Scratch scratch;
      {
        const std::lock_guard lock(mutex);
        if (!idle_.empty()) {
          scratch = std::move(idle_.back());
          idle_.pop_back();
        }
      }
      const Task& task = mine[static_cast<std::size_t>(i)];
      of_part[static_cast<std::size_t>(i)] = convert_part(*task.linear, *task.part, scratch);
      report_.marks.mark();
      const std::lock_guard lock(mutex);
      idle_.push_back(std::move(scratch));
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
