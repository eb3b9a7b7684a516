// Hessians: products by panels of the upper triangle, sums in int64.
#include "kernels/block/hessian.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>

#include "kernels/block/codec.h"
#include "kernels/block/forward.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

void wait_for(cudaStream_t stream, const EventOwner& event) {
  check_cuda(cudaStreamWaitEvent(stream, event.get(), 0), "cudaStreamWaitEvent");
}
void record(const EventOwner& event, cudaStream_t stream) { check_cuda(cudaEventRecord(event.get(), stream), "cudaEventRecord"); }

}  // namespace

float CudaBackend::diagonal_max(Stream& stream, ConstMatrix x) {
  expect_device(x);
  if (x.rows == 0 || x.cols == 0) return 0;
  CudaStream& mine = cuda_stream(stream);
  const BackendBuffer sums = allocate(static_cast<std::size_t>(x.cols) * sizeof(float));
  const auto squares = [&]<typename Element>(Element) {
    run(block::ColumnSquares<Element>{x.data, x.ld, x.rows, x.cols, values_of<float>(sums)}, mine.get(), "diagonal");
  };
  switch (options_.compute) {
    case ComputeType::kBF16: squares(block::Bf16{}); break;
    case ComputeType::kF16: squares(block::Half{}); break;
    default: squares(0.0F);
  }
  float largest = 0;
  for (const float value : fetch<float>(mine, sums, x.cols)) {
    if (!std::isfinite(value)) return value;
    largest = std::max(largest, value);
  }
  return largest;
}

BackendBuffer CudaBackend::hessian_zeros(std::int64_t cols) {
  BackendBuffer sum = allocate(static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(std::int64_t));
  const Lease lease(*this, Take::kStreamOnly);
  check_cuda(cudaMemsetAsync(sum.data(), 0, sum.bytes(), lease.stream().get()), "cudaMemsetAsync");
  lease.stream().synchronize();
  return sum;
}

void CudaBackend::hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum) {
  if (units.empty()) return;
  const std::int64_t cols = units.front().cols, ld = block::divide_up(cols, 8) * 8;
  std::int64_t longest = 0;
  for (const ConstMatrix& x : units) {
    expect_device(x);
    expect(x.cols == cols, "hessian_add: units of {} and {} columns", cols, x.cols);
    longest = std::max(longest, x.rows);
  }
  expect(sum.bytes() == static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(std::int64_t),
         "hessian_add: {} bytes for {} columns", sum.bytes(), cols);

  // Panels are shared out to two streams, always in the same way, so that no two add to the same sums at once; the next unit's
  // operand is made meanwhile. The first stream makes the operands.
  constexpr std::size_t kStreams = kHessianStreams, kOperands = 2;
  std::deque<BackendBuffer> products, operands;
  const std::size_t product_bytes =
      static_cast<std::size_t>(std::min(block::kPanelRows, cols) * block::divide_up(cols, 4) * 4) * sizeof(float);
  for (std::size_t s = 0; s < kStreams; ++s) products.push_back(allocate(product_bytes));
  for (std::size_t o = 0; o < kOperands && narrow(); ++o)
    operands.push_back(allocate(static_cast<std::size_t>(longest * ld) * sizeof(std::uint16_t)));
  std::array<EventOwner, kOperands> done, ready;  // of the second stream with an operand; of the first with making it
  for (std::size_t o = 0; o < kOperands; ++o) {
    done[o] = make_event();
    ready[o] = make_event();
  }
  // Declared last, so that they wait for the streams before what these use is given back.
  std::deque<Lease> leases;
  for (std::size_t s = 0; s < kStreams; ++s) leases.emplace_back(*this, Take::kStreamOnly);
  const cudaStream_t first = leases[0].stream().get(), second = leases[1].stream().get();

  const double scale = std::ldexp(1.0, exponent);
  for (std::size_t u = 0; u < units.size(); ++u) {
    const ConstMatrix& x = units[u];
    if (x.rows == 0) continue;
    const std::size_t slot = u % kOperands;
    const std::byte* operand = narrow() ? operands[slot].data() : reinterpret_cast<const std::byte*>(x.data);
    const std::int64_t ld_operand = narrow() ? ld : x.ld;
    const std::int64_t width_of_element = narrow() ? sizeof(std::uint16_t) : sizeof(float);
    if (narrow()) {
      wait_for(first, done[slot]);
      to_narrow(x, operands[slot].data(), ld, first);
      record(ready[slot], first);
      wait_for(second, ready[slot]);
    }
    for (std::int64_t p = 0; p < block::panel_count(cols); ++p) {
      const block::TrianglePanel panel = block::panel(p, cols);
      const std::int64_t rows = panel.end - panel.begin, width = cols - panel.begin, ld_product = block::divide_up(width, 4) * 4;
      const auto s = static_cast<std::size_t>(p) % kStreams;
      CudaStream& stream = leases[s].stream();
      auto* product = values_of<float>(products[s]);
      const auto plain = [&]<typename Element>(Element) {
        run(block::PanelProduct<Element>{reinterpret_cast<const Element*>(operand), ld_operand, x.rows, panel.begin, rows, width,
                                         product, ld_product},
            stream.get(), "panel");
      };
      if (options_.plain_tiles) {
        switch (options_.compute) {
          case ComputeType::kBF16: plain(block::Bf16{}); break;
          case ComputeType::kF16: plain(block::Half{}); break;
          default: plain(0.0F);
        }
      } else {
        const std::byte* from = operand + panel.begin * width_of_element;
        products_.run(
            stream.lt(), stream.get(), stream.workspace(),
            {false, true, width, rows, x.rows, from, ld_operand, from, ld_operand, product, ld_product, operand_type()});
      }
      run_elements(block::AddRoundedOp{product, ld_product, scale, panel.begin, cols, values_of<std::int64_t>(sum)}, rows, width,
                   stream.get(), "add to the Hessian");
    }
    record(done[slot], second);
  }
  for (const Lease& lease : leases) lease.stream().synchronize();
}

void CudaBackend::hessian_add(std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) {
  if (units.empty()) return;
  const std::int64_t cols = units.front().cols;
  expect(static_cast<std::int64_t>(sum.size()) == cols * (cols + 1) / 2, "hessian_add: {} sums for {} columns", sum.size(), cols);
  const BackendBuffer mine = hessian_zeros(cols);
  hessian_add_to(units, exponent, mine);
  const Lease lease(*this, Take::kStreamOnly);
  const std::vector<std::int64_t> added = fetch<std::int64_t>(lease.stream(), mine, static_cast<std::int64_t>(sum.size()));
  std::ranges::transform(added, sum, sum.begin(), std::plus<>());
}

// An int32 that is not 0 when an element is infinite or not a number.
BackendBuffer CudaBackend::find_non_finite(CudaStream& stream, std::span<const ConstMatrix> all) {
  BackendBuffer found = allocate(sizeof(std::int32_t));
  check_cuda(cudaMemsetAsync(found.data(), 0, sizeof(std::int32_t), stream.get()), "cudaMemsetAsync");
  for (const ConstMatrix& x : all)
    run_elements(block::FindNonFiniteOp{x.data, x.ld, values_of<std::int32_t>(found)}, x.rows, x.cols, stream.get(),
                 "find what is not finite");
  return found;
}

}  // namespace mpiquant::cuda
