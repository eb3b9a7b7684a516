// The bodies of the GPU's forward kernels, run on the host.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/block/attention.h"
#include "kernels/block/forward.h"
#include "kernels/block/host_executor.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/forward.h"

namespace mpiquant::block {
namespace {

// A matrix with a leading dimension above its columns.
struct Values {
  Values(std::int64_t rows_in, std::int64_t cols_in, unsigned seed)
      : rows(rows_in), cols(cols_in), ld(cols_in + 5), data(static_cast<std::size_t>(rows * ld)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : data) value = normal(random);
  }
  Matrix view() { return {data.data(), rows, cols, ld, MemSpace::kHost}; }
  std::int64_t rows, cols, ld;
  std::vector<float> data;
};

double largest_difference(const Values& a, const Values& b) {
  double worst = 0;
  for (std::int64_t r = 0; r < a.rows; ++r)
    for (std::int64_t c = 0; c < a.cols; ++c) {
      const auto at = static_cast<std::size_t>(r * a.ld + c);
      worst = std::max(worst, std::abs(static_cast<double>(a.data[at]) - static_cast<double>(b.data[at])));
    }
  return worst;
}

TEST(BlockElements, CoverTheMatrixOnceAndNothingElse) {
  for (const std::int64_t cols : {1, 255, 1024, 1025, 3000}) {
    Values x(3, cols, 1), y(3, cols, 2), expected = y;
    run_on_host(ForEachElement<AddOp>{{x.data.data(), x.ld, y.data.data(), y.ld}, 3, cols});
    cpu::add(x.view(), expected.view());
    EXPECT_EQ(y.data, expected.data) << cols;
  }
}

TEST(BlockElements, SiluGate) {
  Values gate(5, 77, 1), up(5, 77, 2), out(5, 77, 3), expected = out;
  run_on_host(ForEachElement<SiluGateOp>{{gate.data.data(), gate.ld, up.data.data(), up.ld, out.data.data(), out.ld}, 5, 77});
  cpu::silu_gate(gate.view(), up.view(), expected.view());
  EXPECT_LE(largest_difference(out, expected), 2e-6);
}

TEST(BlockElements, RotaryGivesTheBitsOfTheCpu) {
  Values x(9, 48, 1), expected = x, cos(9, 4, 2), sin(9, 4, 3);
  run_on_host(ForEachElement<RotaryOp>{{x.data.data(), x.ld, cos.data.data(), cos.ld, sin.data.data(), sin.ld, 4}, 9, 24});
  const std::vector<std::int64_t> lengths = {9};
  cpu::rotary(expected.view(), 8, lengths, cos.view(), sin.view());
  EXPECT_EQ(x.data, expected.data);
}

TEST(BlockElements, Bf16RoundsAsTheBaseLibraryAndPadsWithZeros) {
  Values x(2, 5, 1);
  x.data[0] = NAN;
  x.data[1] = 1.00390625F;  // half way between two values
  std::vector<Bf16> y(2 * 8);
  run_on_host(ForEachElement<ToBitsOp<Bf16>>{{x.data.data(), x.ld, 5, y.data(), 8}, 2, 8});
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 8; ++c)
      EXPECT_EQ(y[static_cast<std::size_t>(r * 8 + c)].bits, c < 5 ? f32_to_bf16(x.view().row(r)[c]) : 0) << r << ' ' << c;
}

TEST(BlockElements, HalfRoundsAsTheBaseLibrary) {
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 65521 * 7) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    Half half{};
    from_float(x, half);
    if (std::isnan(x))
      EXPECT_TRUE(std::isnan(to_float(half)));
    else
      ASSERT_EQ(half.bits, f32_to_f16(x)) << x;
  }
  for (const float x : {65504.0F, 65519.99F, 65520.0F, -65520.0F, 0x1p-14F, 0x1.ffcp-15F, 0x1.ffep-15F, 0x1p-24F, 0x1p-25F,
                        0x1.1p-25F, 1.00048828125F, 1.00146484375F, INFINITY}) {
    Half half{};
    from_float(x, half);
    EXPECT_EQ(half.bits, f32_to_f16(x)) << x;
  }
}

TEST(BlockRmsNorm, EqualsTheCpuAlsoInPlace) {
  for (const std::int64_t cols : {1, 100, 256, 1000})
    for (const ThreadOrder order : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
      Values x(4, cols, 1), weight(1, cols, 2), expected(4, cols, 3);
      cpu::rms_norm(x.view(), weight.data.data(), 1e-5F, expected.view());
      run_on_host(RmsNorm{x.data.data(), x.ld, weight.data.data(), x.data.data(), x.ld, 4, cols, 1e-5F}, order);
      EXPECT_LE(largest_difference(x, expected), 1e-6) << cols;
    }
}

struct AttentionCase {
  int heads, kv_heads, head_dim;
  std::int64_t window;
  std::int64_t length;
  float soft_cap = 0;
  bool sinks = false;
};

class BlockAttention : public testing::TestWithParam<AttentionCase> {
 protected:
  template <typename Element, int kTile>
  static double difference(std::int64_t window, ThreadOrder order = ThreadOrder::kForward, float cap_by = 1, float sink_by = 0) {
    const AttentionCase& c = GetParam();
    Values q(c.length, c.heads * c.head_dim, 1), k(c.length, c.kv_heads * c.head_dim, 2), v(c.length, c.kv_heads * c.head_dim, 3),
        out(c.length, c.heads * c.head_dim, 4), expected = out;
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
    const std::vector<std::int64_t> lengths = {c.length};
    std::vector<float> sinks, moved;
    for (int head = 0; head < c.heads && c.sinks; ++head) sinks.push_back(0.5F * static_cast<float>(head) - 0.7F);
    for (const float sink : sinks) moved.push_back(sink + sink_by);
    const float* none = nullptr;
    cpu::attention(q.view(), k.view(), v.view(),
                   {c.heads, c.kv_heads, c.head_dim, c.window, scale, c.soft_cap, c.sinks ? sinks.data() : none}, lengths,
                   expected.view());
    run_on_host(
        Attention<Element, PlainTiles, kTile>{q.data.data(), q.ld, k.data.data(), k.ld, v.data.data(), v.ld, out.data.data(),
                                              out.ld, c.length, c.heads, c.heads / c.kv_heads, c.head_dim, window, scale,
                                              c.soft_cap * cap_by, c.sinks ? moved.data() : none},
        order);
    return largest_difference(out, expected);
  }
};

TEST_P(BlockAttention, EqualsTheCpuInFp32) {
  const std::int64_t window = GetParam().window;
  EXPECT_LE((difference<float, 64>(window)), 3e-6);
  EXPECT_LE((difference<float, 16>(window)), 3e-6);
  EXPECT_LE((difference<float, 32>(window, ThreadOrder::kBackward)), 3e-6);
  if (window > 1) {
    EXPECT_GT((difference<float, 32>(window + 1)), 1e-3);
    EXPECT_GT((difference<float, 32>(0)), 1e-3);
  }
}

TEST_P(BlockAttention, CapsAndSinksMatter) {
  if (GetParam().soft_cap > 0) {
    EXPECT_GT((difference<float, 32>(GetParam().window, ThreadOrder::kForward, 1.5F)), 1e-3);
  }
  if (GetParam().sinks) {
    EXPECT_GT((difference<float, 32>(GetParam().window, ThreadOrder::kForward, 1, 0.2F)), 1e-3);
  }
}

TEST_P(BlockAttention, IsCloseInHalf) { EXPECT_LE((difference<Half, 64>(GetParam().window)), 0.006); }

TEST_P(BlockAttention, IsCloseInBf16) { EXPECT_LE((difference<Bf16, 64>(GetParam().window)), 0.04); }

INSTANTIATE_TEST_SUITE_P(Shapes, BlockAttention,
                         testing::Values(AttentionCase{1, 1, 2, 0, 1}, AttentionCase{4, 2, 8, 0, 70},
                                         AttentionCase{3, 3, 6, 0, 129}, AttentionCase{2, 1, 64, 0, 65},
                                         AttentionCase{4, 1, 16, 1, 67}, AttentionCase{4, 2, 16, 48, 200},
                                         AttentionCase{2, 2, 4, 64, 191}, AttentionCase{4, 2, 16, 0, 70, 1.5F},
                                         AttentionCase{4, 2, 16, 48, 100, 0, true}, AttentionCase{3, 1, 8, 0, 90, 2, true}));

}  // namespace
}  // namespace mpiquant::block
