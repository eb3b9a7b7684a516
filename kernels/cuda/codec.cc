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
};

void check_finite(bool found) {
  check(!found, ExitCode::kInput, "a weight is infinite or not a number (it has no code) repair the source model");
}

EncodedRows collect(std::int64_t rows, std::int64_t cols, std::vector<std::uint8_t> codes, std::span<const GroupParams> params,
                    std::span<const std::int8_t> range) {
  EncodedRows out;
  out.rows = rows;
  out.cols = cols;
  out.codes = std::move(codes);
  const std::size_t n = static_cast<std::size_t>(rows), groups = n == 0 ? 0 : params.size() / n;
  out.params.reserve(params.size());
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t g = 0; g < groups; ++g) out.params.push_back(params[g * n + r]);
  out.scale_underflows = std::ranges::count_if(range, [](std::int8_t value) { return value < 0; });
  out.scale_overflows = std::ranges::count_if(range, [](std::int8_t value) { return value > 0; });
  return out;
}

}  // namespace

EncodedRows CudaBackend::sweep(Stream& stream, const SweepTask& task) {
  expect_device(task.weight);
  expect_valid(task.codec);
  const std::int64_t rows = task.weight.rows, cols = task.weight.cols;
  expect(task.factor->cols == cols, "a factor of {} columns for a weight of {}", task.factor->cols, cols);
  CudaStream& mine = cuda_stream(stream);
  const cudaStream_t queue = mine.get();
  const std::shared_ptr<const DeviceFactor> factor = on_device(mine, *task.factor);
  const std::int64_t group = task.codec.group_of(cols), groups = task.codec.groups(cols), ldp = block::divide_up(rows, 4) * 4;
  const bool live = task.factor->order != ActOrder::kStatic;
  const auto* visit = values_of<std::int32_t>(factor->visit);
  const auto* upper = values_of<float>(factor->upper);

  const BackendBuffer found = find_non_finite(mine, task.weight.data, rows, cols, task.weight.ld);
  const BackendBuffer panel_buffer = allocate(static_cast<std::size_t>(cols * ldp) * sizeof(float));
  const BackendBuffer loss = allocate(static_cast<std::size_t>(rows) * sizeof(double));
  const BackendBuffer by_column = allocate(static_cast<std::size_t>(cols * rows));
  const Coded coded{allocate(static_cast<std::size_t>(rows * cols)),
                    allocate(static_cast<std::size_t>(groups * rows) * sizeof(GroupParams)),
                    allocate(static_cast<std::size_t>(groups * rows))};
  auto* panel = values_of<float>(panel_buffer);
  check_cuda(cudaMemsetAsync(loss.data(), 0, loss.bytes(), queue), "cudaMemsetAsync");
  run(block::MakePanel{task.weight.data, task.weight.ld, rows, cols, visit, values_of<std::uint8_t>(factor->dead), panel, ldp},
      queue, "panel");
  codec::with_grid(task.codec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    auto* params = values_of<GroupParams>(coded.params);
    auto* range = values_of<std::int8_t>(coded.range);
    if (!live)
      run_elements(block::FitOp<Grid>{grid, task.weight.data, task.weight.ld, rows, cols, group, params, range}, groups, rows,
                   queue, "fit");
    for (std::int64_t begin = 0; begin < cols;) {
      const std::int64_t end = block::sweep_block_end(begin, cols, live ? group : 0);
      run(block::SweepBlock<Grid>{grid, panel, ldp, rows, cols, begin, end, visit, values_of<float>(factor->diagonal), upper,
                                  group, live, params, range, values_of<std::uint8_t>(by_column), values_of<double>(loss)},
          queue, "sweep");
      if (end < cols) run(block::SweepUpdate{panel, ldp, rows, cols, begin, end, upper}, queue, "sweep update");
      begin = end;
    }
  });
  run(block::TransposeBytes{values_of<std::uint8_t>(by_column), rows, cols, values_of<std::uint8_t>(coded.codes)}, queue,
      "codes");
  check_finite(fetch<std::int32_t>(mine, found, 1).front() != 0);
  EncodedRows out =
      collect(rows, cols, fetch<std::uint8_t>(mine, coded.codes, rows * cols),
              fetch<GroupParams>(mine, coded.params, groups * rows), fetch<std::int8_t>(mine, coded.range, groups * rows));
  out.loss = fetch<double>(mine, loss, rows);
  return out;
}

EncodedRows CudaBackend::encode(Stream& stream, ConstMatrix weight, const CodecSpec& spec) {
  expect_device(weight);
  expect_valid(spec);
  const std::int64_t rows = weight.rows, cols = weight.cols, group = spec.group_of(cols), groups = spec.groups(cols);
  CudaStream& mine = cuda_stream(stream);
  const BackendBuffer found = find_non_finite(mine, weight.data, rows, cols, weight.ld);
  const BackendBuffer loss = allocate(static_cast<std::size_t>(groups * rows) * sizeof(double));
  const Coded coded{allocate(static_cast<std::size_t>(rows * cols)),
                    allocate(static_cast<std::size_t>(groups * rows) * sizeof(GroupParams)),
                    allocate(static_cast<std::size_t>(groups * rows))};
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
  EncodedRows out =
      collect(rows, cols, fetch<std::uint8_t>(mine, coded.codes, rows * cols),
              fetch<GroupParams>(mine, coded.params, groups * rows), fetch<std::int8_t>(mine, coded.range, groups * rows));
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
  const BackendBuffer codes = put(mine, std::span(rows.codes)), params = put(mine, std::span(rows.params)),
                      groups_of = put(mine, g_idx);
  codec::with_grid(spec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    run_elements(block::DecodeOp<Grid>{grid, values_of<std::uint8_t>(codes), values_of<GroupParams>(params),
                                       values_of<std::int32_t>(groups_of), rows.cols, groups, out.data, out.ld},
                 rows.rows, rows.cols, mine.get(), "decode");
  });
}

}  // namespace mpiquant::cuda
