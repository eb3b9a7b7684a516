#include "src/run/measure.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/container.h"
#include "io/file.h"
#include "io/safetensors_source.h"
#include "src/base/hash.h"
#include "src/plan/cost.h"
#include "src/quant/method.h"
#include "src/run/node_memory.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr int kRepeats = 3;
constexpr double kLeastSeconds = 0.1;  // of a measurement
constexpr double kLeastCall = 1e-6;    // seconds; shorter ones are counted as this

class Meter {
 public:
  Meter(Job& job, Backend* bf16, int threads, fs::path scratch)
      : job_(job), bf16_(bf16), threads_(threads), scratch_(std::move(scratch)) {}

  Machine run() {
    machine_.threads = threads_;
    linear();
    forward_rest();
    hessian();
    factor();
    sweep();
    pack();
    files();
    messages();
    for (double& rate : machine_.rates.of) rate = slowest(rate);
    return machine_;
  }

 private:
  double slowest(double rate) { return -max_over(job_.world, -rate); }

  // Seconds of one call, the least of some repeats of many: as many on each rank, since calls may be collective.
  double time(const std::function<void()>& body) {
    body();
    const auto calls =
        static_cast<int>(std::ceil(kLeastSeconds / std::max(kLeastCall, max_over(job_.world, seconds_of(body, 1)))));
    double best = 1e30;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      job_.world.barrier();
      best = std::min(best, seconds_of(body, calls) / calls);
    }
    return best;
  }
  static double seconds_of(const std::function<void()>& body, int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  // The same of one item, where each thread has one.
  double time_items(const std::function<void(Stream&, std::int64_t)>& body) {
    return time([&] { job_.backend.for_each(threads_, body); });
  }

  BackendBuffer filled(std::int64_t rows, std::int64_t cols) {
    BackendBuffer buffer = job_.backend.allocate(static_cast<std::size_t>(rows * cols) * sizeof(float));
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    std::uint32_t state = 1;
    for (float& value : values) {  // any numbers of both signs will do
      state = state * 1664525U + 1013904223U;
      value = static_cast<float>(state >> 8U) * 0x1p-24F - 0.5F;
    }
    job_.backend.for_each(1,
                          [&](Stream& stream, std::int64_t) { job_.backend.upload(stream, values, buffer.matrix(rows, cols)); });
    return buffer;
  }
  std::vector<BackendBuffer> filled_by_thread(std::int64_t rows, std::int64_t cols) {
    std::vector<BackendBuffer> out;
    for (int t = 0; t < threads_; ++t) out.push_back(filled(rows, cols));
    return out;
  }

  void linear() {
    constexpr std::int64_t kTokens = 512, kWidth = 1024;
    const auto x = filled_by_thread(kTokens, kWidth), y = filled_by_thread(kTokens, kWidth);
    const BackendBuffer w = filled(kWidth, kWidth);
    const auto rate = [&](Backend& backend) {
      return 2.0 * kTokens * kWidth * kWidth / time([&] {
               backend.for_each(threads_, [&](Stream& stream, std::int64_t t) {
                 backend.linear(stream, x[static_cast<std::size_t>(t)].matrix(kTokens, kWidth), w.matrix(kWidth, kWidth), nullptr,
                                y[static_cast<std::size_t>(t)].matrix(kTokens, kWidth));
               });
             });
    };
    machine_.rates[Op::kLinear] = rate(job_.backend);
    if (bf16_ != nullptr) machine_.linear_bf16 = slowest(rate(*bf16_));
  }

  // Attention at two head sizes tells products and exponentials apart; the rest moves memory, into buffers that are new each
  // time.
  void forward_rest() {
    constexpr std::int64_t kTokens = 512, kWidth = 1024;
    const auto x = filled_by_thread(kTokens, kWidth);
    const BackendBuffer norm = filled(1, kWidth);
    const double moved = time_items([&](Stream& stream, std::int64_t t) {
      const BackendBuffer out = job_.backend.allocate(static_cast<std::size_t>(kTokens * kWidth) * sizeof(float));
      job_.backend.rms_norm(stream, x[static_cast<std::size_t>(t)].matrix(kTokens, kWidth), norm.matrix(1, kWidth).data, 1e-5F,
                            out.matrix(kTokens, kWidth));
    });
    machine_.rates[Op::kMemory] = norm_work(kTokens, kWidth)[Op::kMemory] / moved;

    const std::vector<std::int64_t> lengths = {kTokens};
    const auto attend = [&](std::int64_t dim) {
      constexpr std::int64_t kHeads = 8;
      const auto q = filled_by_thread(kTokens, kHeads * dim), out = filled_by_thread(kTokens, kHeads * dim);
      return time_items([&](Stream& stream, std::int64_t t) {
        const ConstMatrix in = q[static_cast<std::size_t>(t)].matrix(kTokens, kHeads * dim);
        job_.backend.attention(stream, in, in, in, {kHeads, kHeads, dim, 0, 0.1F}, lengths,
                               out[static_cast<std::size_t>(t)].matrix(kTokens, kHeads * dim));
      });
    };
    LayerShape layer;
    layer.blocks = {{"qkv", 1, {1}}};
    layer.heads = 8;
    const auto work = [&](std::int64_t dim) {
      layer.key_dim = layer.value_dim = dim;
      return forward_work(layer, 0, kTokens, kTokens);
    };
    split(work(32), work(128), attend(32), attend(128), Op::kAttention, Op::kSoftmax);
  }

  // Two measurements of work that consists of two kinds. Where the second kind takes no time that can be seen, it costs nothing.
  void split(const Amount& small, const Amount& large, double small_took, double large_took, Op first, Op second) {
    const double det = small[first] * large[second] - large[first] * small[second];
    const double a = (small_took * large[second] - large_took * small[second]) / det;  // seconds of one of the first kind
    const double b = (large_took * small[first] - small_took * large[first]) / det;
    if (a > 0 && b > 0) {
      machine_.rates[first] = 1 / a;
      machine_.rates[second] = 1 / b;
    } else {
      machine_.rates[first] = large[first] / large_took;
    }
  }

  void hessian() {
    constexpr std::int64_t kCols = 1024;
    const auto add = [&](Backend& backend, std::int64_t tokens) {
      const BackendBuffer x = filled(tokens, kCols);
      const std::vector<ConstMatrix> units(static_cast<std::size_t>(threads_), x.matrix(tokens, kCols));
      std::vector<std::int64_t> sum(static_cast<std::size_t>(triangle(kCols)));
      return time([&] { backend.hessian_add(units, 20, sum); });
    };
    const Amount large = hessian_work(kCols, 1024);
    split(hessian_work(kCols, 128), large, add(job_.backend, 128), add(job_.backend, 1024), Op::kHessian, Op::kRound);
    if (bf16_ == nullptr) return;
    const double rounding = machine_.rates[Op::kRound] > 0 ? large[Op::kRound] / machine_.rates[Op::kRound] : 0;
    const double took = add(*bf16_, 1024);
    machine_.hessian_bf16 = slowest(large[Op::kHessian] / std::max(took / 2, took - rounding));
  }

  // XᵀX of random numbers.
  std::vector<float> packed_hessian(std::int64_t cols) {
    const BackendBuffer x = filled(2 * cols, cols);
    std::vector<std::int64_t> sum(static_cast<std::size_t>(triangle(cols)));
    const std::vector<ConstMatrix> units = {x.matrix(2 * cols, cols)};
    job_.backend.hessian_add(units, 20, sum);
    std::vector<float> out;
    for (const std::int64_t value : sum) out.push_back(static_cast<float>(value) * 0x1p-20F);
    return out;
  }

  void factor() {
    const auto run = [&](std::int64_t cols) {
      const std::vector<float> hessian = packed_hessian(cols);
      return threads_ * time([&] { job_.backend.factor(hessian, cols, {}); });
    };
    split(factor_work(512), factor_work(1536), run(512), run(1536), Op::kFactor, Op::kOrder);
  }

  void sweep() {
    const auto run = [&](std::int64_t cols, bool search) {
      const Factor factor = job_.backend.factor(packed_hessian(cols), cols, {});
      const auto weights = filled_by_thread(kPartRows, cols);
      CodecSpec codec;
      codec.group_size = 64;
      codec.mse = search;
      return time_items([&](Stream& stream, std::int64_t t) {
        job_.backend.sweep(stream, {weights[static_cast<std::size_t>(t)].matrix(kPartRows, cols), &factor, codec});
      });
    };
    const double plain = run(256, false);
    split(sweep_work(256, false), sweep_work(1024, false), plain, run(1024, false), Op::kSweep, Op::kCode);
    machine_.rates[Op::kSearch] = sweep_work(256, true)[Op::kSearch] / std::max(1e-9, run(256, true) - plain);
  }

  // A linear through a container, and its codes back to weights.
  void pack() {
    constexpr std::int64_t kRows = 1024, kCols = 1024;
    const CodecSpec codec;
    const BackendBuffer weight = filled(kRows, kCols), out = filled(kRows, kCols);
    EncodedRows rows;
    job_.backend.for_each(
        1, [&](Stream& stream, std::int64_t) { rows = job_.backend.encode(stream, weight.matrix(kRows, kCols), codec); });
    const std::vector<std::int32_t> g_idx = group_index(codec, nullptr, kCols);
    machine_.rates[Op::kDecode] = kRows * kCols / time_items([&](Stream& stream, std::int64_t) {
                                    job_.backend.decode(stream, rows, codec, g_idx, out.matrix(kRows, kCols));
                                  });
    ModelSpec model;
    OutputSpec output;
    const LinearSpec spec{"linear", Role::kDown, kRows, kCols, false};
    output.linears.push_back({spec, false, codec, false});
    const Container& container = find_container("gptq");
    const TensorPlan piece{"linear.qweight", "linear", "qweight", 0, kRows * kCols / 2};
    std::vector<std::byte> bytes(static_cast<std::size_t>(piece.bytes));
    machine_.rates[Op::kPack] = kRows * kCols / time([&] {
                                  EncodedLinear whole{codec, kRows, kCols, {}, {}, g_idx};  // as parts are put together
                                  whole.codes.insert(whole.codes.end(), rows.codes.begin(), rows.codes.end());
                                  whole.params.insert(whole.params.end(), rows.params.begin(), rows.params.end());
                                  container.pack(output, model, piece, whole, bytes);
                                });
  }

  void files() {
    constexpr std::int64_t kRows = 4096, kCols = 4096, kBytes = kRows * kCols * 2;
    const fs::path folder = scratch_ / fmt::format(".mpiquant-measure-{}-{}", getpid(), job_.world.rank());
    collectively(job_.world, [&] { fs::create_directories(folder); });
    const fs::path path = folder / "model.safetensors";
    const std::string header =
        fmt::format(R"({{"w":{{"dtype":"BF16","shape":[{},{}],"data_offsets":[0,{}]}}}})", kRows, kCols, kBytes);
    std::vector<std::byte> data(8 + header.size() + static_cast<std::size_t>(kBytes));
    for (std::size_t i = 0; i < 8; ++i) data[i] = static_cast<std::byte>(header.size() >> (8 * i));
    std::ranges::copy(std::as_bytes(std::span(header)), data.begin() + 8);
    machine_.rates[Op::kWrite] = static_cast<double>(data.size()) / time([&] {
                                   File file = File::create(path, static_cast<std::int64_t>(data.size()));
                                   file.write_at(0, data);
                                   file.sync();
                                   file.close();
                                 });
    const SafetensorsSource source(folder);
    std::vector<std::byte> raw(static_cast<std::size_t>(kBytes));
    const double read = time([&] { source.read_raw("w", 0, raw); });
    machine_.rates[Op::kRead] = kBytes / read;
    const double floats = time([&] {
      std::vector<float> values(static_cast<std::size_t>(kRows * kCols));
      source.read_rows("w", 0, kRows, values);
    });
    machine_.rates[Op::kConvert] = kRows * kCols / std::max(1e-6, floats - read);
    machine_.rates[Op::kSum] = kBytes / time([&] {
                                 Sha256 sum;
                                 sum.update(raw);
                               });
    collectively(job_.world, [&] { fs::remove_all(folder); });
  }

  void messages() {
    constexpr std::size_t kBytes = 16 << 20;
    const int ranks = job_.world.size();
    const double agreed = time([&] { agree(job_.world); });
    machine_.link.latency = agreed / std::max(1.0, std::ceil(std::log2(ranks)));
    std::vector<std::byte> all(kBytes), other(kBytes);
    double took = 0;
    if (ranks == 1) {
      took = 2 * time([&] { std::ranges::copy(all, other.begin()); });  // into the other's memory and out of it
    } else {
      std::vector<std::size_t> counts(static_cast<std::size_t>(ranks), kBytes / static_cast<std::size_t>(ranks));
      counts.back() = kBytes - counts.front() * (counts.size() - 1);
      const std::size_t first = counts.front() * static_cast<std::size_t>(job_.world.rank());
      const std::span<const std::byte> mine =
          std::span(other).subspan(first, counts[static_cast<std::size_t>(job_.world.rank())]);
      took = time([&] { job_.world.all_gather_v(bytes_of(mine), counts, bytes_of(all)); }) * ranks / (ranks - 1);
    }
    machine_.link.bytes_per_second = slowest(kBytes / took);
    machine_.network = machine_.link;
  }

  Job& job_;
  Backend* bf16_;
  int threads_;
  fs::path scratch_;
  Machine machine_;
};

}  // namespace

Machine measure_machine(Job& job, Backend* bf16, int threads, const std::string& scratch) {
  Machine machine = Meter(job, bf16, threads, scratch).run();
  machine.name = "this machine, measured";
  machine.ranks = job.world.size();
  machine.node_memory = available_memory();
  return machine;
}

}  // namespace mpiquant
