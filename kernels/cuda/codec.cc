// The column sweep, round to nearest, decoding.
#include "kernels/block/codec.h"

#include <algorithm>

#include "kernels/block/sweep.h"
#include "kernels/codec/grids.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

// What the kernels write of a matrix [rows, cols], before it becomes EncodedRows.
struct Coded {
  BackendBuffer codes;   // uint8 [rows, cols]
  BackendBuffer params;  // GroupParams [groups][rows]
  BackendBuffer range;   // int8 [groups][rows]
  std::int64_t rows;
};

// EncodedRows::resident: rows from `first` on of what was coded together.
struct ResidentRows {
  std::shared_ptr<const Coded> all;
  std::int64_t first;
};

void check_finite(bool found) {
  check(!found, ExitCode::kInput, "a weight is infinite or not a number (it has no code) repair the source model");
}

// Rows [first, first + out.rows) of what was coded together: parameters by row, counts. params, range: [groups][all rows].
void take_params(EncodedRows& out, std::int64_t first, std::int64_t all_rows, std::span<const GroupParams> params,
                 std::span<const std::int8_t> range) {
  const auto n = static_cast<std::size_t>(all_rows), groups = n == 0 ? 0 : params.size() / n;
  out.params.reserve(static_cast<std::size_t>(out.rows) * groups);
  for (auto r = static_cast<std::size_t>(first); r < static_cast<std::size_t>(first + out.rows); ++r)
    for (std::size_t g = 0; g < groups; ++g) {
      out.params.push_back(params[g * n + r]);
      out.scale_underflows += range[g * n + r] < 0 ? 1 : 0;
      out.scale_overflows += range[g * n + r] > 0 ? 1 : 0;
    }
}

// Rows of a linear that follow each other in memory, and where they are among the rows that are swept together.
struct Run {
  ConstMatrix weight;
  std::int64_t first;
};

std::vector<Run> runs_of(std::span<const ConstMatrix> parts) {
  std::vector<Run> runs;
  std::int64_t first = 0;
  for (const ConstMatrix& part : parts) {
    expect_device(part);
    expect(part.cols == parts.front().cols, "parts of {} and {} columns in one sweep", part.cols, parts.front().cols);
    if (!runs.empty() && runs.back().weight.ld == part.ld && runs.back().weight.row(runs.back().weight.rows) == part.data)
      runs.back().weight.rows += part.rows;
    else
      runs.push_back({part, first});
    first += part.rows;
  }
  return runs;
}

}  // namespace

EncodedRows CudaBackend::sweep(Stream& stream, const SweepTask& task) {
  return std::move(sweep_group(stream, {{&task.weight, 1}, task.factor, task.codec}).front());
}

std::vector<EncodedRows> CudaBackend::sweep_group(Stream& stream, const SweepGroup& swept) {
  if (swept.parts.empty()) return {};
  expect_valid(swept.codec);
  const std::vector<Run> runs = runs_of(swept.parts);
  const std::int64_t rows = runs.back().first + runs.back().weight.rows, cols = swept.parts.front().cols;
  expect(swept.factor->cols == cols, "a factor of {} columns for a weight of {}", swept.factor->cols, cols);
  CudaStream& mine = cuda_stream(stream);
  const cudaStream_t queue = mine.get();
  const std::shared_ptr<const DeviceFactor> factor = on_device(mine, *swept.factor);
  const std::int64_t group = swept.codec.group_of(cols), groups = swept.codec.groups(cols), ldp = block::divide_up(rows, 4) * 4;
  const bool live = swept.factor->order != ActOrder::kStatic;
  const auto* visit = values_of<std::int32_t>(factor->visit);
  const auto* upper = values_of<float>(*factor->upper);

  const auto coded = std::make_shared<const Coded>(Coded{allocate(static_cast<std::size_t>(rows * cols)),
                                                         allocate(static_cast<std::size_t>(groups * rows) * sizeof(GroupParams)),
                                                         allocate(static_cast<std::size_t>(groups * rows)), rows});
  const BackendBuffer found = find_non_finite(mine, swept.parts);
  const BackendBuffer panel_buffer = allocate(static_cast<std::size_t>(cols * ldp) * sizeof(float));
  const BackendBuffer loss = allocate(static_cast<std::size_t>(rows) * sizeof(double));
  const BackendBuffer by_column = allocate(static_cast<std::size_t>(cols * rows));
  auto* panel = values_of<float>(panel_buffer);
  check_cuda(cudaMemsetAsync(loss.data(), 0, loss.bytes(), queue), "cudaMemsetAsync");
  for (const Run& run_of : runs)
    run(block::MakePanel{run_of.weight.data, run_of.weight.ld, run_of.weight.rows, cols, visit,
                         values_of<std::uint8_t>(factor->dead), panel + run_of.first, ldp},
        queue, "panel");
  codec::with_grid(swept.codec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    auto* params = values_of<GroupParams>(coded->params);
    auto* range = values_of<std::int8_t>(coded->range);
    for (const Run& run_of : runs)
      if (!live)
        run_elements(block::FitOp<Grid>{grid, run_of.weight.data, run_of.weight.ld, rows, cols, group, params + run_of.first,
                                        range + run_of.first},
                     groups, run_of.weight.rows, queue, "fit");
    for (std::int64_t begin = 0; begin < cols;) {
      const std::int64_t end = block::sweep_block_end(begin, cols, live ? group : 0);
      run(block::SweepBlock<Grid>{grid, panel, ldp, rows, cols, begin, end, visit, values_of<float>(factor->diagonal), upper,
                                  group, live, params, range, values_of<std::uint8_t>(by_column), values_of<double>(loss)},
          queue, "sweep");
      if (end < cols) run(block::SweepUpdate{panel, ldp, rows, cols, begin, end, upper}, queue, "sweep update");
      begin = end;
    }
  });
  run(block::TransposeBytes{values_of<std::uint8_t>(by_column), rows, cols, values_of<std::uint8_t>(coded->codes)}, queue,
      "codes");
  check_finite(fetch<std::int32_t>(mine, found, 1).front() != 0);
  const auto params = fetch<GroupParams>(mine, coded->params, groups * rows);
  const auto range = fetch<std::int8_t>(mine, coded->range, groups * rows);
  const auto losses = fetch<double>(mine, loss, rows);
  std::vector<EncodedRows> out;
  std::int64_t first = 0;
  for (const ConstMatrix& part : swept.parts) {
    EncodedRows& one = out.emplace_back();
    one.rows = part.rows;
    one.cols = cols;
    one.codes = fetch<std::uint8_t>(mine, coded->codes, part.rows * cols, first * cols);
    take_params(one, first, rows, params, range);
    one.loss.assign(losses.begin() + first, losses.begin() + first + part.rows);
    one.resident = std::make_shared<const ResidentRows>(ResidentRows{coded, first});
    first += part.rows;
  }
  return out;
}

EncodedRows CudaBackend::encode(Stream& stream, ConstMatrix weight, const CodecSpec& spec) {
  expect_device(weight);
  expect_valid(spec);
  const std::int64_t rows = weight.rows, cols = weight.cols, group = spec.group_of(cols), groups = spec.groups(cols);
  CudaStream& mine = cuda_stream(stream);
  const BackendBuffer found = find_non_finite(mine, {&weight, 1});
  const BackendBuffer loss = allocate(static_cast<std::size_t>(groups * rows) * sizeof(double));
  const Coded coded{allocate(static_cast<std::size_t>(rows * cols)),
                    allocate(static_cast<std::size_t>(groups * rows) * sizeof(GroupParams)),
                    allocate(static_cast<std::size_t>(groups * rows)), rows};
  codec::with_grid(spec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    auto* params = values_of<GroupParams>(coded.params);
    run_elements(block::FitOp<Grid>{grid, weight.data, weight.ld, rows, cols, group, params, values_of<std::int8_t>(coded.range)},
                 groups, rows, mine.get(), "fit");
    run_elements(block::RoundOp<Grid>{grid, weight.data, weight.ld, rows, cols, group, params,
                                      values_of<std::uint8_t>(coded.codes), values_of<double>(loss)},
                 groups, rows, mine.get(), "round");
  });
  check_finite(fetch<std::int32_t>(mine, found, 1).front() != 0);
  EncodedRows out;
  out.rows = rows;
  out.cols = cols;
  out.codes = fetch<std::uint8_t>(mine, coded.codes, rows * cols);
  take_params(out, 0, rows, fetch<GroupParams>(mine, coded.params, groups * rows),
              fetch<std::int8_t>(mine, coded.range, groups * rows));
  out.loss.resize(static_cast<std::size_t>(rows));
  const std::vector<double> parts = fetch<double>(mine, loss, groups * rows);
  for (std::size_t at = 0; at < parts.size(); ++at) out.loss[at % out.loss.size()] += parts[at];
  return out;
}

void CudaBackend::decode(Stream& stream, const EncodedRows& rows, const CodecSpec& spec, std::span<const std::int32_t> g_idx,
                         Matrix out) {
  expect_device(out);
  const std::int64_t groups = spec.groups(rows.cols);
  expect(out.rows == rows.rows && out.cols == rows.cols && static_cast<std::int64_t>(g_idx.size()) == rows.cols,
         "decode [{},{}] with {} groups of columns to [{},{}]", rows.rows, rows.cols, g_idx.size(), out.rows, out.cols);
  expect(static_cast<std::int64_t>(rows.codes.size()) == rows.rows * rows.cols &&
             static_cast<std::int64_t>(rows.params.size()) == rows.rows * groups,
         "decode: {} codes and {} parameters of [{},{}]", rows.codes.size(), rows.params.size(), rows.rows, rows.cols);
  CudaStream& mine = cuda_stream(stream);
  const BackendBuffer groups_of = put(mine, g_idx);
  const auto decode_from = [&](const std::uint8_t* codes, const GroupParams* params, std::int64_t next_row,
                               std::int64_t next_group) {
    codec::with_grid(spec, [&](const auto& grid) {
      using Grid = std::decay_t<decltype(grid)>;
      run_elements(block::DecodeOp<Grid>{grid, codes, params, next_row, next_group, values_of<std::int32_t>(groups_of), rows.cols,
                                         out.data, out.ld},
                   rows.rows, rows.cols, mine.get(), "decode");
    });
  };
  if (const auto* here = static_cast<const ResidentRows*>(rows.resident.get())) {
    decode_from(values_of<std::uint8_t>(here->all->codes) + here->first * rows.cols,
                values_of<GroupParams>(here->all->params) + here->first, 1, here->all->rows);
    mine.synchronize();  // the codes may go
    return;
  }
  const BackendBuffer codes = put(mine, std::span(rows.codes)), params = put(mine, std::span(rows.params));
  decode_from(values_of<std::uint8_t>(codes), values_of<GroupParams>(params), groups, 1);
}

}  // namespace mpiquant::cuda
