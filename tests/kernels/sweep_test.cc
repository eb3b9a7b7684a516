#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/codec/grids.h"
#include "kernels/cpu/factor.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/sweep.h"
#include "src/base/error.h"
#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

Factor make_factor(const Sample& x, ActOrder order, int threads = 1) {
  ThreadPool pool(threads);
  return cpu::factor(pool, sample_hessian(x), x.cols, {.order = order});
}

float upper(const Factor& factor, std::int64_t j, std::int64_t i) {
  return factor.upper[static_cast<std::size_t>(j * (factor.cols - 1) - j * (j - 1) / 2 + i - j - 1)];
}

// The definition of a sweep, one row at a time and with no blocks.
EncodedRows plain_sweep(const Sample& weight, const Factor& factor, const CodecSpec& codec) {
  const std::int64_t n = weight.cols, group = codec.group_of(n);
  EncodedRows out{0, weight.rows, n, {}, {}, {}, 0, 0};
  out.codes.resize(weight.values.size());
  out.params.resize(static_cast<std::size_t>(weight.rows * codec.groups(n)));
  out.loss.resize(static_cast<std::size_t>(weight.rows));
  codec::with_grid(codec, [&](const auto& grid) {
    for (std::int64_t r = 0; r < weight.rows; ++r) {
      const float* original = weight.values.data() + r * n;
      GroupParams* params = out.params.data() + r * codec.groups(n);
      std::vector<float> w(static_cast<std::size_t>(n));
      for (std::size_t j = 0; j < w.size(); ++j)
        w[j] = factor.dead[static_cast<std::size_t>(factor.visit[j])] != 0 ? 0 : original[factor.visit[j]];
      for (std::int64_t g = 0; g < codec.groups(n) && factor.order == ActOrder::kStatic; ++g)
        params[g] = codec::fit_group(grid, original + g * group, std::min(group, n - g * group), 1).params;
      for (std::int64_t j = 0; j < n; ++j) {
        const auto step = static_cast<std::size_t>(j);
        const std::int64_t column = factor.visit[step];
        const std::int64_t g = factor.order == ActOrder::kStatic ? column / group : j / group;
        if (factor.order != ActOrder::kStatic && j % group == 0)
          params[g] = codec::fit_group(grid, w.data() + j, std::min(group, n - j), 1).params;
        const float q = grid.code(w[step], params[g]);
        const float error = w[step] - grid.value(q, params[g]);
        out.codes[static_cast<std::size_t>(r * n + column)] = static_cast<std::uint8_t>(q);
        const double diagonal = static_cast<double>(factor.diagonal[step]);
        out.loss[static_cast<std::size_t>(r)] +=
            static_cast<double>(error) * static_cast<double>(error) * (0.5 / (diagonal * diagonal));
        for (std::int64_t i = j + 1; i < n; ++i)
          w[static_cast<std::size_t>(i)] = std::fma(-error, upper(factor, j, i), w[static_cast<std::size_t>(i)]);
      }
    }
  });
  return out;
}

void expect_equal(const EncodedRows& a, const EncodedRows& b) {
  EXPECT_EQ(a.codes, b.codes);
  ASSERT_EQ(a.params.size(), b.params.size());
  for (std::size_t i = 0; i < a.params.size(); ++i) {
    ASSERT_EQ(a.params[i].scale, b.params[i].scale) << i;
    ASSERT_EQ(a.params[i].offset, b.params[i].offset) << i;
  }
  EXPECT_EQ(a.loss, b.loss);
}

struct SweepCase {
  const char* name;
  std::int64_t cols;
  CodecSpec codec;
};

class EverySweep : public testing::TestWithParam<std::tuple<SweepCase, ActOrder>> {};

TEST_P(EverySweep, EqualsTheDefinitionBitForBit) {
  const auto& [sample, order] = GetParam();
  const Factor factor = make_factor(sample_activations(300, sample.cols, 11, 5), order);
  const Sample w(19, sample.cols, 2);
  expect_equal(cpu::sweep({w.view(), &factor, sample.codec}), plain_sweep(w, factor, sample.codec));
}

std::string name_of(const SweepCase& sample, ActOrder order) {
  constexpr std::array<const char*, 3> kOrders = {"none", "static", "dynamic"};
  return std::string(sample.name) + "_" + kOrders[static_cast<std::size_t>(order)];
}

INSTANTIATE_TEST_SUITE_P(Cases, EverySweep,
                         testing::Combine(testing::Values(SweepCase{"g32", 160, int_codec(4, 32, true)},
                                                          SweepCase{"row", 300, int_codec(3, -1, false)},
                                                          SweepCase{"g128_two_blocks", 300,
                                                                    int_codec(4, 128, false, DType::kF32)},
                                                          SweepCase{"g48_ragged", 200, int_codec(2, 48, true, DType::kBF16)},
                                                          SweepCase{"g200_beyond_a_block", 450, int_codec(8, 200, false)},
                                                          SweepCase{"g24_search", 72, int_codec(4, 24, true, DType::kF16, true)},
                                                          SweepCase{"q4_0", 160, ggml_codec(CodecKind::kQ4_0)},
                                                          SweepCase{"q4_1", 160, ggml_codec(CodecKind::kQ4_1)},
                                                          SweepCase{"q8_0", 160, ggml_codec(CodecKind::kQ8_0)},
                                                          SweepCase{"one_column", 1, int_codec(4, 1, true)}),
                                          testing::Values(ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic)),
                         [](const auto& test) { return name_of(std::get<0>(test.param), std::get<1>(test.param)); });

TEST(Sweep, ARowDoesNotDependOnThePart) {
  const Factor factor = make_factor(sample_activations(300, 200, 1), ActOrder::kStatic);
  const Sample w(kPartRows, 200, 4);
  const CodecSpec codec = int_codec(4, 64, false, DType::kF16, true);
  const EncodedRows whole = cpu::sweep({w.view(), &factor, codec});
  for (const std::int64_t begin : {0, 1, 37, 127})
    for (const std::int64_t rows : {1, 17, 91}) {
      if (begin + rows > kPartRows) continue;
      const EncodedRows part = cpu::sweep({w.view().row_range(begin, begin + rows), &factor, codec});
      EXPECT_TRUE(std::equal(part.codes.begin(), part.codes.end(), whole.codes.begin() + begin * 200));
      EXPECT_TRUE(std::equal(part.loss.begin(), part.loss.end(), whole.loss.begin() + begin));
    }
}

TEST(Sweep, OutputErrorIsBelowRoundToNearest) {
  const Sample x = sample_activations(500, 192, 21);
  const std::vector<float> h = sample_hessian(x);
  const Sample w(32, 192, 6);
  const CodecSpec codec = int_codec(3, 64, true);
  const auto output_error = [&](const EncodedRows& rows) {
    double sum = 0;
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t t = 0; t < x.rows; ++t) {
        double y = 0;
        for (std::int64_t c = 0; c < w.cols; ++c) {
          const GroupParams p = rows.params[static_cast<std::size_t>(r * 3 + c / 64)];
          const float value = p.scale * (static_cast<float>(rows.codes[static_cast<std::size_t>(r * 192 + c)]) - p.offset);
          y += static_cast<double>(x.values[static_cast<std::size_t>(t * 192 + c)]) *
               static_cast<double>(w.values[static_cast<std::size_t>(r * 192 + c)] - value);
        }
        sum += y * y;
      }
    return sum;
  };
  const auto backend = make_cpu_backend(1);
  Stream stream;
  const double nearest = output_error(backend->encode(stream, w.view(), codec));
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic}) {
    const Factor factor = make_factor(x, order);
    const EncodedRows rows = cpu::sweep({w.view(), &factor, codec});
    const double swept = output_error(rows);
    EXPECT_LT(swept, 0.6 * nearest);
    // The loss is half the output error, and the damping's share of it on top.
    double loss = 0;
    for (const double row : rows.loss) loss += row;
    EXPECT_GT(2 * loss, swept);
    EXPECT_LT(2 * loss, 1.2 * swept);
  }
}

TEST(Sweep, DeadColumnsGetTheCodeOfZero) {
  const Factor factor = make_factor(sample_activations(300, 64, 1, 9), ActOrder::kStatic);
  EXPECT_EQ(factor.dead[9], 1);
  const Sample w(8, 64, 4);
  const EncodedRows rows = cpu::sweep({w.view(), &factor, int_codec(4, 32, true)});
  for (std::size_t r = 0; r < 8; ++r) EXPECT_EQ(rows.codes[r * 64 + 9], 8);
}

TEST(Sweep, WeightsThatAreNotFiniteAreRefused) {
  const Factor factor = make_factor(sample_activations(100, 32, 1), ActOrder::kNone);
  Sample w(4, 32, 4);
  w.at(3, 31) = INFINITY;
  EXPECT_THROW(cpu::sweep({w.view(), &factor, int_codec(4, 32, true)}), Error);
}

}  // namespace
}  // namespace mpiquant
