#include "src/plan/stages.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/codec/codec.h"
#include "src/base/error.h"
#include "src/plan/cost.h"

namespace mpiquant {
namespace {

// In integers, so that stages of as many equal layers are equal.
constexpr double kWhole = 1e6;

double flop(const Amount& work) {
  return work[Op::kLinear] + work[Op::kAttention] + work[Op::kHessian] + work[Op::kFactor] + work[Op::kSweep];
}

// Hessian, factor and sweep of a block.
double conversion_flop(const BlockShape& block, double tokens) {
  const double parts = static_cast<double>(block.out()) / static_cast<double>(kPartRows);
  Amount copy = hessian_work(block.cols, tokens * block.share());
  copy += factor_work(block.cols);
  copy += sweep_work(block.cols, false) * parts;
  return flop(copy) * static_cast<double>(block.experts);
}

}  // namespace

LayerLoad layer_load(const LayerShape& layer, std::int64_t tokens, std::int64_t length,
                     const std::function<bool(std::size_t block)>& converts) {
  LayerLoad load{0, static_cast<double>(layer.weights())};
  if (tokens == 0) return load;
  const auto all = static_cast<double>(tokens);
  for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
    const BlockShape& block = layer.blocks[b];
    load.work += flop(forward_work(layer, b, all * static_cast<double>(block.chosen), static_cast<double>(length)));
    if (converts(b)) load.work += conversion_flop(block, all);
  }
  return load;
}

LayerLoad head_load(const PlanShape& shape, std::int64_t tokens) {
  const BlockShape head{"head", shape.hidden, {shape.vocab}};
  return {tokens == 0 ? 0 : conversion_flop(head, static_cast<double>(tokens)), static_cast<double>(head.weights())};
}

std::vector<std::size_t> stage_bounds(std::span<const LayerLoad> layers, const LayerLoad& head, int stages) {
  const std::size_t count = layers.size(), wanted = static_cast<std::size_t>(stages);
  expect(wanted >= 1 && wanted <= count, "{} stages for {} layers", stages, count);
  LayerLoad all = head;
  for (const LayerLoad& layer : layers) all = {all.work + layer.work, all.bytes + layer.bytes};
  const auto share = [&all](const LayerLoad& of) {
    const double work = all.work > 0 ? of.work / all.work : 0, bytes = all.bytes > 0 ? of.bytes / all.bytes : 0;
    return std::llround(kWhole * (work + bytes));
  };
  std::vector<long long> before = {0};  // of the layers before each
  for (const LayerLoad& layer : layers) before.push_back(before.back() + share(layer));

  // least[s][i]: of the first i layers in s stages, beginning the last of them at from[s][i].
  const long long none = std::numeric_limits<long long>::max();
  std::vector least(wanted + 1, std::vector<long long>(count + 1, none));
  std::vector from(wanted + 1, std::vector<std::size_t>(count + 1, 0));
  least[0][0] = 0;
  for (std::size_t s = 1; s <= wanted; ++s)
    for (std::size_t i = s; i <= count; ++i)
      for (std::size_t j = s - 1; j < i; ++j) {
        if (least[s - 1][j] == none) continue;
        const long long load = before[i] - before[j] + (s == wanted && i == count ? share(head) : 0);
        if (least[s - 1][j] + load * load > least[s][i]) continue;
        least[s][i] = least[s - 1][j] + load * load;
        from[s][i] = j;
      }
  std::vector<std::size_t> bounds(wanted + 1, count);
  for (std::size_t s = wanted; s > 0; --s) bounds[s - 1] = from[s][bounds[s]];
  return bounds;
}

}  // namespace mpiquant
