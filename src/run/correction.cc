#include "src/run/correction.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/quant/hessian.h"
#include "src/run/hessian.h"
#include "src/run/timed.h"

namespace mpiquant {
namespace {

std::vector<ConstMatrix> inputs_of(std::span<const UnitState> units) {
  std::vector<ConstMatrix> inputs;
  for (const UnitState& unit : units) inputs.push_back(unit.input_matrix());
  return inputs;
}

// Bounds the elements of (y - x)ᵀx of all units by Cauchy and Schwarz, from the largest diagonal elements of xᵀx and yᵀy.
float largest_moment(Backend& backend, std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals) {
  std::vector<float> bounds(units.size(), 0);
  backend.for_each(static_cast<std::int64_t>(units.size()), [&](Stream& stream, std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const double x = std::sqrt(static_cast<double>(backend.diagonal_max(stream, units[at])));
    const double y = std::sqrt(static_cast<double>(backend.diagonal_max(stream, originals[at])));
    constexpr double kRounding = 1.000001;
    bounds[at] = static_cast<float>((x + y) * x * kRounding);
  });
  float largest = 0;
  for (const float bound : bounds) largest = std::isfinite(bound) ? std::max(largest, bound) : HUGE_VALF;
  return largest;
}

}  // namespace

void check_gptaq(const QuantizeRequest& request, const std::vector<OutputSpec>& outputs, const Backend& backend) {
  if (request.recipe.gptaq_alpha == 0) return;
  check(request.hessians.empty() && !request.keep_hessians, ExitCode::kUsage,
        "gptaq_alpha with kept Hessians (they lack the cross moments, which need the activations) leave one of them away");
  check(propagated_output(request.recipe, outputs).has_value(), ExitCode::kUsage,
        "gptaq_alpha with --propagate original (inputs that no quantized layer has changed need no correction) leave one of them "
        "away");
  const auto other = [&](const OutputSpec& output) { return output.transforms != outputs.front().transforms; };
  check(std::ranges::none_of(outputs, other), ExitCode::kUsage,
        "gptaq_alpha with outputs of several transforms (a correction belongs to one form of the model) give each form a run of "
        "its own");
  check(backend.space() == MemSpace::kHost, ExitCode::kUsage,
        "gptaq_alpha on a GPU (there is no kernel for its cross moments yet) leave it away, or give --device cpu");
}

void add_correction(Job& job, std::span<const UnitState> units, std::span<const UnitState> originals, std::int64_t total_units,
                    int owner, double alpha, Factor& factor, RankReport& report) {
  Communicator& group = *job.grid.group;
  const auto values = static_cast<std::size_t>(factor.cols * factor.cols);
  const std::vector<ConstMatrix> inputs = inputs_of(units), original_inputs = inputs_of(originals);
  float largest = 0;
  timed_collectively(group, report, "hessian", [&] { largest = largest_moment(job.backend, inputs, original_inputs); });
  const int exponent = hessian_exponent(max_over(group, largest), total_units);
  BackendBuffer sum;
  timed_collectively(group, report, "hessian", [&] {
    sum = job.backend.allocate(values * sizeof(std::int64_t));
    std::ranges::fill(values_of<std::int64_t>(sum), 0);
    job.backend.cross_add(inputs, original_inputs, exponent, values_of<std::int64_t>(sum));
  });
  if (group.size() > 1) {
    const PhaseTimer timer(report, "reduce");
    group.reduce_sum(values_of<std::int64_t>(sum), owner);
    report.hessian_bytes += static_cast<std::int64_t>(sum.bytes());
  }
  const PhaseTimer timer(report, group.rank() == owner ? "factor" : "wait");
  collectively(group, [&] {
    factor.correction = std::make_shared<BackendBuffer>(
        group.rank() == owner ? job.backend.correction(factor, values_of<std::int64_t>(sum), exponent, alpha)
                              : job.backend.allocate(values * sizeof(float)));
  });
  if (group.size() > 1) group.broadcast(values_of<std::byte>(*factor.correction), owner);
}

}  // namespace mpiquant
