// Rates of a GPU's work at the shapes of Llama-3-8B: products of the forward pass, attention, Hessian, factor, column sweep,
// beside a plain square product and a copy as measures of the machine. Wall time of calls that wait for the device.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "kernels/cuda_backend.h"
#include "src/base/error.h"
#include "tests/gpu/gpu_support.h"

namespace mpiquant {
namespace {

// The best of three runs after one that warms up, in seconds.
double seconds(const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (i > 0) best = std::min(best, took.count());
  }
  return best;
}

void line(const std::string& what, double time, double flop, double bytes, double peak) {
  std::printf("%-44s %10.3f ms %8.1f TFLOP/s %8.1f GB/s %6.1f %%\n", what.c_str(), 1e3 * time, flop / time / 1e12,
              bytes / time / 1e9, peak > 0 ? 100 * flop / time / peak : 0.0);
}

struct Shape {
  const char* name;
  std::int64_t rows, cols;
};

int run(std::int64_t tokens, int streams) {
  CudaOptions options;
  options.streams = streams;
  const auto gpu = make_cuda_backend(options);
  std::printf("%s\n%-44s %13s %17s %13s %8s\n", gpu->identity().c_str(), "", "time", "rate", "memory", "of peak");
  const auto device = [&](std::int64_t rows, std::int64_t cols) {
    const Sample small(64, cols, 1);
    OnDevice out(*gpu, Sample(1, cols, 1));
    out.rows = rows;
    out.buffer = gpu->allocate(static_cast<std::size_t>(rows * cols) * sizeof(float));
    on_stream(*gpu, [&](Stream& s) {
      for (std::int64_t r = 0; r < rows; r += 64) {
        const std::int64_t n = std::min<std::int64_t>(64, rows - r);
        gpu->upload(s, std::span(small.values).first(static_cast<std::size_t>(n * cols)), out.view().row_range(r, r + n));
      }
    });
    return out;
  };

  const OnDevice square = device(8192, 8192), product = device(8192, 8192);
  const double square_time = seconds(
      [&] { on_stream(*gpu, [&](Stream& s) { gpu->linear(s, square.view(), square.view(), nullptr, product.view()); }); });
  const double peak = 2.0 * 8192 * 8192 * 8192 / square_time;
  line("product 8192 x 8192 x 8192 (peak)", square_time, 2.0 * 8192 * 8192 * 8192, 0, peak);
  const double copied = 2.0 * 8192 * 8192 * sizeof(float);
  line("copy of 256 MB", seconds([&] { on_stream(*gpu, [&](Stream& s) { gpu->copy(s, square.view(), product.view()); }); }), 0,
       copied, 0);

  for (const Shape& shape : {Shape{"q, o", 4096, 4096}, {"k, v", 1024, 4096}, {"gate, up", 14336, 4096}, {"down", 4096, 14336}}) {
    const OnDevice x = device(tokens, shape.cols), w = device(shape.rows, shape.cols), y = device(tokens, shape.rows);
    const double flop = 2.0 * static_cast<double>(tokens * shape.rows) * static_cast<double>(shape.cols);
    line(fmt::format("linear {} [{},{}], {} tokens", shape.name, shape.rows, shape.cols, tokens),
         seconds([&] { on_stream(*gpu, [&](Stream& s) { gpu->linear(s, x.view(), w.view(), nullptr, y.view()); }); }), flop, 0,
         peak);
  }
  {
    const OnDevice q = device(tokens, 4096), k = device(tokens, 1024), out = device(tokens, 4096);
    const std::vector<std::int64_t> lengths(static_cast<std::size_t>(tokens / 2048), 2048);
    const AttentionShape shape{32, 8, 128, 0, 0.088F};
    const double flop = 2.0 * 2048 * 2048 * 4096 * static_cast<double>(lengths.size());
    line(fmt::format("attention, {} samples of 2048", lengths.size()), seconds([&] {
           on_stream(*gpu, [&](Stream& s) { gpu->attention(s, q.view(), k.view(), k.view(), shape, lengths, out.view()); });
         }),
         flop, 0, peak);
  }
  for (const std::int64_t cols : {4096, 14336}) {
    const OnDevice x = device(tokens, cols);
    const ConstMatrix unit = x.view();
    const BackendBuffer sum = gpu->hessian_zeros(cols);
    const auto n = static_cast<double>(cols);
    line(fmt::format("Hessian of {} columns, {} tokens", cols, tokens), seconds([&] {
           gpu->hessian_add_to({&unit, 1}, 0, sum);
         }),
         static_cast<double>(tokens) * n * (n + 1), 0, peak);
    std::vector<float> packed;
    for (std::int64_t r = 0; r < cols; ++r)
      for (std::int64_t c = r; c < cols; ++c) packed.push_back(r == c ? 4.0F : 1.0F / static_cast<float>(1 + c - r));
    Factor factor;
    line(fmt::format("factor of {} columns, with transfers", cols), seconds([&] { factor = gpu->factor(packed, cols, {}); }),
         2 * n * n * n / 3, 0, 0);
    const std::int64_t rows = cols == 4096 ? 14336 : 4096;
    const OnDevice w = device(rows, cols);
    const auto r = static_cast<double>(rows);
    const double traffic = r * n * 4 * (1 + n / 128);  // the panel is read and written once for each block of columns, half of it
    const CodecSpec codec;
    line(fmt::format("sweep of [{},{}] at once", rows, cols),
         seconds([&] { on_stream(*gpu, [&](Stream& s) {
                         gpu->sweep(s, {w.view(), &factor, codec});
                       }); }), r * n * n, traffic, 0);
    line(fmt::format("sweep of [{},{}] by parts of 128 rows", rows, cols), seconds([&] {
           gpu->for_each(rows / 128, [&](Stream& s, std::int64_t i) {
             gpu->sweep(s, {w.view().row_range(128 * i, 128 * i + 128), &factor, codec});
           });
         }),
         r * n * n, 0, 0);
  }
  return 0;
}

}  // namespace
}  // namespace mpiquant

int main(int argc, char** argv) {
  try {
    return mpiquant::run(argc > 1 ? std::stoll(argv[1]) : 4096, argc > 2 ? std::stoi(argv[2]) : 8);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_gpu: %s\n", error.what());
    return 1;
  }
}
