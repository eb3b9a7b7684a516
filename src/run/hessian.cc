#include "src/run/hessian.h"

#include <algorithm>

#include "src/run/timed.h"

namespace mpiquant {
namespace {

// A factor as bytes for the broadcast: its sizes follow from cols.
void broadcast_factor(Communicator& comm, Factor& factor, std::int64_t cols, int owner) {
  const auto n = static_cast<std::size_t>(cols);
  factor.cols = cols;
  factor.visit.resize(n);
  factor.dead.resize(n);
  factor.diagonal.resize(n);
  factor.upper.resize(n * (n - 1) / 2);
  comm.broadcast(bytes_of(factor.visit), owner);
  comm.broadcast(bytes_of(factor.dead), owner);
  comm.broadcast(bytes_of(factor.diagonal), owner);
  comm.broadcast(bytes_of(factor.upper), owner);
  comm.broadcast(bytes_of(std::span(&factor.damp_percent, 1)), owner);
  comm.broadcast(bytes_of(std::span(&factor.retries, 1)), owner);
}

}  // namespace

Hessian shared_hessian(Job& job, std::span<const ConstMatrix> inputs, std::int64_t cols, std::int64_t total_units,
                       std::int64_t total_tokens, int owner, RankReport& report) {
  Communicator& group = *job.grid.group;
  float largest = 0;
  timed_collectively(group, report, "hessian", [&] {
    std::vector<float> maxima(inputs.size(), 0);
    job.backend.for_each(static_cast<std::int64_t>(inputs.size()), [&](Stream& stream, std::int64_t i) {
      maxima[static_cast<std::size_t>(i)] = job.backend.diagonal_max(stream, inputs[static_cast<std::size_t>(i)]);
    });
    for (const float value : maxima) largest = std::max(largest, value);
  });
  const int exponent = hessian_exponent(max_over(group, largest), total_units);
  BackendBuffer sum;
  timed_collectively(group, report, "hessian", [&] {
    sum = job.backend.hessian_zeros(cols);
    job.backend.hessian_add_to(inputs, exponent, sum);
  });
  const PhaseTimer timer(report, "reduce");
  const std::span values(reinterpret_cast<std::int64_t*>(sum.data()), static_cast<std::size_t>(cols * (cols + 1) / 2));
  group.start_reduce_sum(Buffer<std::int64_t>(values, sum.space()), owner).wait();
  Hessian hessian;
  collectively(group, [&] {
    if (group.rank() != owner) return;
    hessian = sum.space() == MemSpace::kHost ? canonical_hessian(values, exponent, cols, total_tokens)
                                             : rounded_hessian(job.backend.hessian_rounded(sum, exponent), cols, total_tokens);
  });
  return hessian;
}

Factor shared_factor(Job& job, Hessian hessian, std::int64_t cols, int owner, const FactorOptions& options, RankReport& report) {
  Communicator& group = *job.grid.group;
  const PhaseTimer timer(report, group.rank() == owner ? "factor" : "wait");
  Factor factor;
  collectively(group, [&] {
    if (group.rank() == owner) factor = job.backend.factor(hessian.packed, cols, options);
  });
  hessian = {};
  factor.order = options.order;
  broadcast_factor(group, factor, cols, owner);
  collectively(group, [&] { job.backend.make_resident(factor); });
  return factor;
}

}  // namespace mpiquant
