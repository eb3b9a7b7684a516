#include "kernels/cpu/matmul.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <thread>

#include "kernels/cpu/forward.h"
#include "src/base/error.h"
#include "tests/kernels/sample.h"
#include "tests/kernels/try_matmul.h"

namespace mpiquant {
namespace {

double seen(ComputeType type, float x) { return static_cast<double>(type == ComputeType::kBF16 ? round_to(DType::kBF16, x) : x); }

Matrix matrix(Sample& sample) { return {sample.values.data(), sample.rows, sample.cols, sample.cols, MemSpace::kHost}; }

bool same_bits(const Sample& a, const Sample& b) {
  return std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end(),
                    [](float x, float y) { return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y); });
}

class MatMul : public testing::TestWithParam<ComputeType> {
 protected:
  void SetUp() override {
    matmul_ = try_matmul(GetParam());
    if (!matmul_) GTEST_SKIP() << "this processor has no instructions for products in bf16";
  }
  Sample by_transpose(const Sample& x, const Sample& w) const {
    Sample y(x.rows, w.rows, 0);
    matmul_->by_transpose(matmul_->operand(x.view()), matmul_->operand(w.view()), matrix(y));
    return y;
  }
  std::unique_ptr<cpu::MatMul> matmul_;
};

// Sums in bfloat16 would miss by 2^-9, operands that are not rounded by 2^-9 too.
TEST_P(MatMul, SumsProductsOfRoundedFactorsInFp32) {
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 1, 1}, {3, 5, 7}, {64, 33, 100}, {130, 257, 576}}) {
    const Sample x(m, k, 1), w(n, k, 2);
    const Sample y = by_transpose(x, w);
    for (std::int64_t r = 0; r < m; ++r)
      for (std::int64_t c = 0; c < n; ++c) {
        double exact = 0, size = 0;
        for (std::int64_t i = 0; i < k; ++i) {
          const double product = seen(GetParam(), x.view().row(r)[i]) * seen(GetParam(), w.view().row(c)[i]);
          exact += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y.view().row(r)[c], exact, 1e-6 * size) << r << " " << c << " of " << m << " " << n << " " << k;
      }
  }
}

TEST_P(MatMul, GramIsTheProductOfColumns) {
  const Sample x(77, 300, 1);
  Sample transposed(300, 77, 0);
  for (std::int64_t r = 0; r < 77; ++r)
    for (std::int64_t c = 0; c < 300; ++c) transposed.at(c, r) = x.view().row(r)[c];
  const Sample expected = by_transpose(transposed, transposed);
  Sample y(40, 60, 0);
  matmul_->gram(matmul_->operand(x.view()), 10, 200, matrix(y));
  for (std::int64_t r = 0; r < 40; ++r)
    for (std::int64_t c = 0; c < 60; ++c) ASSERT_NEAR(y.at(r, c), expected.view().row(10 + r)[200 + c], 1e-4);
}

TEST_P(MatMul, DependsOnOperandsAlone) {
  const Sample x(96, 200, 1), w(150, 200, 2);
  const Sample expected = by_transpose(x, w);
  // On several threads at once.
  std::vector<Sample> results(3, Sample(0, 0, 0));
  std::vector<std::thread> threads;
  for (Sample& result : results) threads.emplace_back([&] { result = by_transpose(x, w); });
  for (std::thread& thread : threads) thread.join();
  for (const Sample& result : results) EXPECT_TRUE(same_bits(result, expected));
  // Rows that lie further apart.
  Sample wide(96, 230, 3);
  for (std::int64_t r = 0; r < 96; ++r) std::copy_n(x.view().row(r), 200, &wide.at(r, 0));
  Sample y(96, 150, 0);
  matmul_->by_transpose(matmul_->operand({wide.values.data(), 96, 200, 230, MemSpace::kHost}), matmul_->operand(w.view()),
                        matrix(y));
  EXPECT_TRUE(same_bits(y, expected));
}

TEST_P(MatMul, StartsNoThreads) {
  const auto backend = make_cpu_backend(1);  // which tells OpenBLAS
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  };
  const auto before = threads();
  by_transpose(Sample(512, 512, 1), Sample(512, 512, 2));
  EXPECT_EQ(threads(), before);
}

TEST_P(MatMul, KeepsWhatIsNotFinite) {
  Sample x(2, 40, 1);
  x.at(0, 3) = NAN;
  x.at(1, 3) = INFINITY;
  const Sample y = by_transpose(x, Sample(4, 40, 2));
  for (std::int64_t c = 0; c < 4; ++c) {
    EXPECT_TRUE(std::isnan(y.view().row(0)[c]));
    EXPECT_TRUE(std::isinf(y.view().row(1)[c]));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MatMul, testing::Values(ComputeType::kF32, ComputeType::kBF16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST(ComputeTypes, AreNamedInTheIdentity) {
  EXPECT_NE(make_cpu_backend(1)->identity().find("f32"), std::string::npos);
  if (!try_matmul(ComputeType::kBF16)) GTEST_SKIP() << "this processor has no instructions for products in bf16";
  EXPECT_NE(make_cpu_backend(1)->identity(), make_cpu_backend(1, ComputeType::kBF16)->identity());
}

TEST(ComputeTypes, HaveNames) {
  EXPECT_EQ(compute_type("bf16"), ComputeType::kBF16);
  EXPECT_EQ(compute_type("f32"), ComputeType::kF32);
  EXPECT_EQ(compute_type("f16"), ComputeType::kF16);
  EXPECT_EQ(compute_type("f64"), std::nullopt);
}

TEST(BufferPool, HandsOutWhatCameBack) {
  const auto backend = make_cpu_backend(1);
  const std::byte* first = nullptr;
  {
    const BackendBuffer a = backend->allocate(1000);
    const BackendBuffer b = backend->allocate(1000);
    first = a.data();
    EXPECT_NE(a.data(), b.data());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % 64, 0U);
  }
  const BackendBuffer c = backend->allocate(500), d = backend->allocate(1000);
  EXPECT_TRUE(c.data() == first || d.data() == first);
  EXPECT_NE(c.data(), d.data());
  EXPECT_EQ(c.bytes(), 500U);
}

TEST(BufferPool, BuffersMayOutliveIt) {
  BackendBuffer buffer;
  {
    const auto backend = make_cpu_backend(1);
    buffer = backend->allocate(1 << 20);
  }
  buffer.data()[0] = std::byte{1};
  EXPECT_EQ(buffer.data()[0], std::byte{1});
}

}  // namespace
}  // namespace mpiquant
