// gemm_bench THREADS: GFLOP/s of one thread, while so many run, in products alone: y [512, 1536] = x [512, 576] wᵀ, in each
// compute type that this machine has. One line of JSON.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "src/base/error.h"

namespace {

using namespace mpiquant;

constexpr std::int64_t kTokens = 512, kRows = 1536, kCols = 576;
constexpr double kSeconds = 1.5;

ConstMatrix view(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  return {values.data(), rows, cols, cols, MemSpace::kHost};
}

// The best of many calls: a shared machine takes time away, it never gives any.
double rate(const cpu::MatMul& matmul) {
  const std::vector<float> x(static_cast<std::size_t>(kTokens * kCols), 0.5F), w(static_cast<std::size_t>(kRows * kCols), 0.25F);
  std::vector<float> y(static_cast<std::size_t>(kTokens * kRows));
  const cpu::Operand a = matmul.operand(view(x, kTokens, kCols)), b = matmul.operand(view(w, kRows, kCols));
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (const Clock::time_point start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < kSeconds;) {
    const Clock::time_point before = Clock::now();
    matmul.by_transpose(a, b, {y.data(), kTokens, kRows, kRows, MemSpace::kHost});
    best = std::min(best, std::chrono::duration<double>(Clock::now() - before).count());
  }
  return 2e-9 * static_cast<double>(kTokens * kRows * kCols) / best;
}

double rate_beside_others(const cpu::MatMul& matmul, int threads) {
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::vector<std::thread> workers;
  for (double& out : rates) workers.emplace_back([&] { out = rate(matmul); });
  for (std::thread& worker : workers) worker.join();
  return *std::min_element(rates.begin(), rates.end());
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  make_cpu_backend(1);  // tells OpenBLAS to use one thread a call
  std::cout << "{\"threads\": " << threads;
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    try {
      const auto matmul = cpu::make_matmul(type);
      std::cout << ", \"" << to_string(type) << "\": " << rate_beside_others(*matmul, threads);
    } catch (const Error& error) {
      std::cerr << error.what() << std::endl;
    }
  }
  std::cout << "}" << std::endl;
  return 0;
}
