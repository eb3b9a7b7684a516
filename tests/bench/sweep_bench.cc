// Rates of quantization work on one thread: the column sweep, a Hessian's unit, a factor, round to nearest.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {
namespace {

std::vector<float> normal_values(std::int64_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& value : out) value = normal(random);
  return out;
}

ConstMatrix matrix(const std::vector<float>& values, std::int64_t cols) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / cols, cols, cols, MemSpace::kHost};
}

std::vector<float> hessian(Backend& backend, std::int64_t cols) {
  const std::vector<float> x = normal_values(2 * cols * cols);
  const ConstMatrix unit = matrix(x, cols);
  std::vector<std::int64_t> sum(static_cast<std::size_t>(cols * (cols + 1) / 2));
  backend.hessian_add({&unit, 1}, 20, sum);
  return {sum.begin(), sum.end()};
}

void rate(benchmark::State& state, double flop) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flop * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void sweep(benchmark::State& state, const CodecSpec& codec, ActOrder order) {
  const std::int64_t cols = state.range(0);
  const auto backend = make_cpu_backend(1);
  const Factor factor = backend->factor(hessian(*backend, cols), cols, {.order = order});
  const std::vector<float> w = normal_values(kPartRows * cols);
  Stream stream;
  for (auto _ : state) benchmark::DoNotOptimize(backend->sweep(stream, {matrix(w, cols), &factor, codec}));
  rate(state, static_cast<double>(kPartRows * cols * cols));
}

void hessian_add(benchmark::State& state) {
  const std::int64_t cols = state.range(0), tokens = state.range(1);
  const auto backend = make_cpu_backend(1);
  const std::vector<float> x = normal_values(tokens * cols);
  const ConstMatrix unit = matrix(x, cols);
  std::vector<std::int64_t> sum(static_cast<std::size_t>(cols * (cols + 1) / 2));
  for (auto _ : state) backend->hessian_add({&unit, 1}, 1, sum);
  rate(state, static_cast<double>(tokens * cols * (cols + 1)));
}

void factor(benchmark::State& state) {
  const std::int64_t cols = state.range(0);
  const auto backend = make_cpu_backend(1);
  const std::vector<float> h = hessian(*backend, cols);
  for (auto _ : state) benchmark::DoNotOptimize(backend->factor(h, cols, {}));
  const auto n = static_cast<double>(cols);
  rate(state, n * n * n * 2 / 3);
}

void encode(benchmark::State& state, const CodecSpec& codec) {
  const std::int64_t cols = state.range(0);
  const auto backend = make_cpu_backend(1);
  const std::vector<float> w = normal_values(kPartRows * cols);
  Stream stream;
  for (auto _ : state) benchmark::DoNotOptimize(backend->encode(stream, matrix(w, cols), codec));
  state.SetItemsProcessed(state.iterations() * kPartRows * cols);
}

BENCHMARK_CAPTURE(sweep, int4_g128_static, CodecSpec{}, ActOrder::kStatic)
    ->Arg(576)
    ->Arg(1536)
    ->Arg(4096)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(sweep, int4_g128_none, CodecSpec{}, ActOrder::kNone)
    ->Arg(576)
    ->Arg(1536)
    ->Arg(4096)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(sweep, int4_g64_static_mse, (CodecSpec{.group_size = 64, .mse = true}), ActOrder::kStatic)
    ->Arg(576)
    ->Arg(1536)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(sweep, q4_0_static, (CodecSpec{.kind = CodecKind::kQ4_0, .group_size = 32}), ActOrder::kStatic)
    ->Arg(576)
    ->Arg(1536)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(hessian_add)->Args({576, 1024})->Args({1536, 1024})->Args({4096, 2048})->Unit(benchmark::kMillisecond);
BENCHMARK(factor)->Arg(576)->Arg(1536)->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, int4_g128, CodecSpec{})->Arg(4096)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, q4_0, (CodecSpec{.kind = CodecKind::kQ4_0, .group_size = 32}))
    ->Arg(4096)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, q8_0, (CodecSpec{.kind = CodecKind::kQ8_0, .bits = 8, .group_size = 32}))
    ->Arg(4096)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mpiquant

BENCHMARK_MAIN();
