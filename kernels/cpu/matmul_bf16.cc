// Products of bfloat16 by oneDNN.
#include <unistd.h>

#include <dnnl.hpp>

#include <array>
#include <map>
#include <mutex>

#include "kernels/cpu/buffer_pool.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/vector_math.h"
#include "src/base/error.h"

extern "C" void omp_set_num_threads(int);  // of OpenMP, whose header is the compiler's own

namespace mpiquant::cpu {
namespace {

using Dims = dnnl::memory::dims;
using Type = dnnl::memory::data_type;

MPIQUANT_MULTIVERSION void round_row(const float* x, std::uint16_t* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = round_bf16(x[i]);
}

constexpr std::int64_t kDiagonalTile = 128;  // of which half is made in vain

std::uint16_t* values(const Operand& x) { return reinterpret_cast<std::uint16_t*>(x.rounded.data()); }

// A matrix in memory, its rows `row` and its columns `column` elements apart.
struct View {
  std::uint16_t* data;
  std::int64_t row;
  std::int64_t column;
};

class OneDnn final : public MatMul {
 public:
  std::string identity() const override {
    const dnnl_version_t& version = *dnnl_version();
    // oneDNN cuts sums into pieces by the sizes of the caches.
    return fmt::format("bf16 products by oneDNN {}.{}.{}, instruction set {:#x}, caches {} {}", version.major, version.minor,
                       version.patch, static_cast<unsigned>(dnnl_get_effective_cpu_isa()), sysconf(_SC_LEVEL1_DCACHE_SIZE),
                       sysconf(_SC_LEVEL2_CACHE_SIZE));
  }

  Operand operand(ConstMatrix x) const override {
    Operand out{x, buffers_.take(static_cast<std::size_t>(x.rows * x.cols) * sizeof(std::uint16_t))};
    auto* rounded = reinterpret_cast<std::uint16_t*>(out.rounded.data());
    for (std::int64_t r = 0; r < x.rows; ++r) round_row(x.row(r), rounded + r * x.cols, x.cols);
    return out;
  }

  std::int64_t chunk_tokens() const override { return 1024; }  // each product rounds its weights

  void by_transpose(const Operand& x, const Operand& w, Matrix y) const override {
    const std::int64_t k = x.matrix.cols;
    multiply({values(x), k, 1}, {values(w), 1, k}, k, y);
  }

  void cross(const Operand& a, std::int64_t a_first, const Operand& b, std::int64_t b_first, Matrix y) const override {
    multiply({values(a) + a_first, 1, a.matrix.cols}, {values(b) + b_first, b.matrix.cols, 1}, a.matrix.rows, y);
  }

  std::int64_t gram_tile() const override { return 256; }

  void gram(const Operand& x, std::int64_t first, std::int64_t second, Matrix y) const override {
    const std::int64_t half = y.rows / 2;
    if (first != second || y.rows != y.cols || y.rows <= kDiagonalTile) return cross(x, first, x, second, y);
    gram(x, first, first, {y.data, half, half, y.ld, y.space});
    gram(x, first, first + half, {y.data + half, half, y.cols - half, y.ld, y.space});
    gram(x, first + half, first + half, {y.data + half * y.ld + half, y.rows - half, y.cols - half, y.ld, y.space});
  }

 private:
  // A product of one shape, which takes oneDNN about as long to prepare as a small one takes to make. Any thread may run it.
  struct Product {
    dnnl::memory::desc a, b, y, scratch;
    dnnl::matmul primitive;
  };
  using Shape = std::array<std::int64_t, 8>;  // M, N, K and distances between elements

  const Product& product_of(const View& a, const View& b, std::int64_t k, const Matrix& y) const {
    const Shape shape{y.rows, y.cols, k, a.row, a.column, b.row, b.column, y.ld};
    const std::lock_guard lock(mutex_);
    if (const auto found = products_.find(shape); found != products_.end()) return found->second;
    const dnnl::memory::desc a_desc(Dims{y.rows, k}, Type::bf16, Dims{a.row, a.column});
    const dnnl::memory::desc b_desc(Dims{k, y.cols}, Type::bf16, Dims{b.row, b.column});
    const dnnl::memory::desc y_desc(Dims{y.rows, y.cols}, Type::f32, Dims{y.ld, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc described(dnnl::matmul::desc(a_desc, b_desc, y_desc), attributes, engine_);
    return products_.emplace(shape, Product{a_desc, b_desc, y_desc, described.scratchpad_desc(), dnnl::matmul(described)})
        .first->second;
  }

  // y [M, N] = a [M, K] · b [K, N]
  void multiply(const View& a, const View& b, std::int64_t k, Matrix y) const {
    omp_set_num_threads(1);  // of products that this thread starts: each of our threads works on one of its own
    const Product& product = product_of(a, b, k, y);
    const BackendBuffer scratch = buffers_.take(product.scratch.get_size());
    dnnl::stream stream(engine_);
    product.primitive.execute(stream, {{DNNL_ARG_SRC, {product.a, engine_, a.data}},
                                       {DNNL_ARG_WEIGHTS, {product.b, engine_, b.data}},
                                       {DNNL_ARG_DST, {product.y, engine_, y.data}},
                                       {DNNL_ARG_SCRATCHPAD, {product.scratch, engine_, scratch.data()}}});
    stream.wait();
  }

  BufferPool buffers_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  mutable std::mutex mutex_;  // of products_
  mutable std::map<Shape, Product> products_;
};

}  // namespace

std::unique_ptr<MatMul> make_bf16_matmul() {
  constexpr auto kNeeded = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
  const auto found = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  check((found & kNeeded) == kNeeded, ExitCode::kUsage,
        "--compute bf16 needs a processor with AVX512-BF16 or AMX, which this one is not (its products would be slower than in "
        "fp32) "
        "use --compute f32");
  return std::make_unique<OneDnn>();
}

}  // namespace mpiquant::cpu
