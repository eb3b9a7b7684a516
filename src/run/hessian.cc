#include "src/run/hessian.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/run/timed.h"

namespace mpiquant {
namespace {

// A factor as bytes for the broadcast: its sizes follow from cols. The triangle of a device stays on devices.
void broadcast_factor(Job& job, Factor& factor, std::int64_t cols, int owner) {
  Communicator& comm = *job.grid.group;
  if (comm.size() == 1) return;
  const auto n = static_cast<std::size_t>(cols);
  const bool device = job.backend.space() == MemSpace::kDevice;
  collectively(comm, [&] {
    factor.cols = cols;
    factor.visit.resize(n);
    factor.dead.resize(n);
    factor.diagonal.resize(n);
    if (device && !factor.device_upper)
      factor.device_upper = std::make_shared<BackendBuffer>(job.backend.allocate(n * (n - 1) / 2 * sizeof(float)));
    if (!device) factor.upper.resize(n * (n - 1) / 2);
  });
  comm.broadcast(bytes_of(factor.visit), owner);
  comm.broadcast(bytes_of(factor.dead), owner);
  comm.broadcast(bytes_of(factor.diagonal), owner);
  if (device)
    comm.broadcast(Buffer<std::byte>(values_of<std::byte>(*factor.device_upper), MemSpace::kDevice), owner);
  else
    comm.broadcast(bytes_of(factor.upper), owner);
  comm.broadcast(bytes_of(std::span(&factor.damp_percent, 1)), owner);
  comm.broadcast(bytes_of(std::span(&factor.retries, 1)), owner);
}

}  // namespace

std::string_view to_string(HessianSums sums) { return sums == HessianSums::kInt64 ? "int64" : "f32"; }

HessianSum begin_hessian(Job& job, const InputVisits& inputs, std::int64_t cols, std::int64_t total_units, int owner,
                         HessianSums sums, RankReport& report) {
  Communicator& group = *job.grid.group;
  float largest = 0;
  timed_collectively(group, report, "hessian", [&] {
    inputs([&](std::span<const ConstMatrix> units) {
      std::vector<float> maxima(units.size(), 0);
      job.backend.for_each(static_cast<std::int64_t>(units.size()), [&](Stream& stream, std::int64_t i) {
        maxima[static_cast<std::size_t>(i)] = job.backend.diagonal_max(stream, units[static_cast<std::size_t>(i)]);
      });
      for (const float value : maxima)
        largest = std::isfinite(value) ? std::max(largest, value) : std::numeric_limits<float>::infinity();
    });
  });
  HessianSum out;
  out.cols = cols;
  out.exponent = hessian_exponent(max_over(group, largest), total_units);
  timed_collectively(group, report, "hessian", [&] {
    out.sum = job.backend.hessian_zeros(cols);
    inputs([&](std::span<const ConstMatrix> units) { job.backend.hessian_add_to(units, out.exponent, out.sum); });
    if (sums == HessianSums::kInt64) return;
    out.packed = job.backend.hessian_rounded(out.sum, out.exponent);
    out.sum = {};
  });
  if (group.size() == 1) return out;
  const PhaseTimer timer(report, "reduce");
  if (sums == HessianSums::kInt64)
    out.arrival = group.start_reduce_sum(Buffer<std::int64_t>(values_of<std::int64_t>(out.sum), out.sum.space()), owner);
  else
    out.arrival = group.start_reduce_sum(Buffer<float>(values_of<float>(out.packed), out.packed.space()), owner);
  return out;
}

SharedHessian finish_hessian(Job& job, HessianSum sum, std::int64_t total_tokens, int owner, RankReport& report) {
  Communicator& group = *job.grid.group;
  const PhaseTimer timer(report, "reduce");
  if (group.size() > 1) sum.arrival.wait();
  SharedHessian out;
  collectively(group, [&] {
    if (group.rank() != owner) return;
    check(total_tokens > 0, ExitCode::kGate,
          "a Hessian saw no tokens (its linears would become zeros) use more calibration data");
    if (job.backend.space() == MemSpace::kDevice) {
      out.device = sum.packed.bytes() > 0 ? std::move(sum.packed) : job.backend.hessian_rounded(sum.sum, sum.exponent);
    } else if (sum.packed.bytes() > 0) {
      const std::span<float> packed = values_of<float>(sum.packed);
      out.host = rounded_hessian({packed.begin(), packed.end()}, sum.cols, total_tokens);
    } else {
      out.host = canonical_hessian(values_of<std::int64_t>(sum.sum), sum.exponent, sum.cols, total_tokens);
    }
  });
  return out;
}

Hessian on_host(Backend& backend, const SharedHessian& hessian, std::int64_t cols, std::int64_t tokens) {
  if (hessian.device.bytes() == 0) return hessian.host;
  std::vector<float> packed(hessian.device.bytes() / sizeof(float));
  backend.for_each(1, [&](Stream& stream, std::int64_t) {
    backend.download(stream, hessian.device.matrix(1, static_cast<std::int64_t>(packed.size())), packed);
  });
  return rounded_hessian(std::move(packed), cols, tokens);
}

Factor shared_factor(Job& job, SharedHessian hessian, std::int64_t cols, int owner, const FactorOptions& options,
                     RankReport& report) {
  Communicator& group = *job.grid.group;
  const PhaseTimer timer(report, group.rank() == owner ? "factor" : "wait");
  Factor factor;
  collectively(group, [&] {
    if (group.rank() != owner) return;
    factor = hessian.device.bytes() > 0 ? job.backend.factor_packed(hessian.device, cols, options)
                                        : job.backend.factor(hessian.host.packed, cols, options);
  });
  hessian = {};
  factor.order = options.order;
  broadcast_factor(job, factor, cols, owner);
  collectively(group, [&] { job.backend.make_resident(factor); });
  return factor;
}

}  // namespace mpiquant
