// The bodies of the GPU's codec and sweep kernels, run on the host: the same codes, parameters and losses as the CPU backend, bit
// for bit.
#include <gtest/gtest.h>

#include <array>
#include <tuple>
#include <vector>

#include "kernels/block/codec.h"
#include "kernels/block/host_executor.h"
#include "kernels/block/sweep.h"
#include "kernels/codec/grids.h"
#include "kernels/cpu/encode.h"
#include "kernels/cpu/factor.h"
#include "kernels/cpu/sweep.h"
#include "tests/kernels/sample.h"

namespace mpiquant::block {
namespace {

struct Coded {
  std::vector<std::uint8_t> codes;
  std::vector<GroupParams> params;  // [rows, groups]
  std::vector<double> loss;
};

Coded finish(const std::vector<std::uint8_t>& codes, const std::vector<GroupParams>& params, std::int64_t rows,
             std::int64_t groups) {
  Coded out;
  out.codes = codes;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) out.params.push_back(params[static_cast<std::size_t>(g * rows + r)]);
  return out;
}

// The sweep as the backend issues it.
Coded sweep(const Sample& weight, const Factor& factor, const CodecSpec& spec, ThreadOrder order,
            bool update_first_block = true) {
  const std::int64_t rows = weight.rows, cols = weight.cols, group = spec.group_of(cols), groups = spec.groups(cols),
                     ldp = rows + 3;
  const bool live = factor.order != ActOrder::kStatic;
  std::vector<float> panel(static_cast<std::size_t>(cols * ldp));
  std::vector<GroupParams> params(static_cast<std::size_t>(groups * rows));
  std::vector<std::int8_t> range(params.size());
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(cols * rows)), transposed(codes.size());
  std::vector<double> loss(static_cast<std::size_t>(rows));
  run_on_host(MakePanel{weight.values.data(), cols, rows, cols, factor.visit.data(), factor.dead.data(), panel.data(), ldp},
              order);
  codec::with_grid(spec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    if (!live)
      run_on_host(
          ForEachElement<FitOp<Grid>>{
              {grid, weight.values.data(), cols, rows, cols, group, params.data(), range.data()}, groups, rows},
          order);
    for (std::int64_t begin = 0; begin < cols;) {
      const std::int64_t end = sweep_block_end(begin, cols, live ? group : 0);
      run_on_host(SweepBlock<Grid>{grid, panel.data(), ldp, rows, cols, begin, end, factor.visit.data(), factor.diagonal.data(),
                                   factor.upper.data(), group, live, params.data(), range.data(), codes.data(), loss.data()},
                  order);
      if (end < cols && (begin > 0 || update_first_block))
        run_on_host(SweepUpdate{panel.data(), ldp, rows, cols, begin, end, factor.upper.data()}, order);
      begin = end;
    }
  });
  run_on_host(TransposeBytes{codes.data(), rows, cols, transposed.data()}, order);
  Coded out = finish(transposed, params, rows, groups);
  out.loss = loss;
  return out;
}

void expect_equal(const Coded& actual, const EncodedRows& expected) {
  EXPECT_EQ(actual.codes, expected.codes);
  ASSERT_EQ(actual.params.size(), expected.params.size());
  for (std::size_t i = 0; i < expected.params.size(); ++i) {
    ASSERT_EQ(actual.params[i].scale, expected.params[i].scale) << i;
    ASSERT_EQ(actual.params[i].offset, expected.params[i].offset) << i;
  }
}

struct SweepCase {
  const char* name;
  std::int64_t rows;
  std::int64_t cols;
  CodecSpec codec;
};

const std::array kCases = {SweepCase{"g32", 19, 160, int_codec(4, 32, true)},
                           SweepCase{"row", 7, 300, int_codec(3, -1, false)},
                           SweepCase{"g128_three_blocks", 128, 300, int_codec(4, 128, false, DType::kF32)},
                           SweepCase{"g48_ragged", 65, 200, int_codec(2, 48, true, DType::kBF16)},
                           SweepCase{"g200_beyond_a_block", 9, 450, int_codec(8, 200, false)},
                           SweepCase{"g24_search", 5, 72, int_codec(4, 24, true, DType::kF16, true)},
                           SweepCase{"q4_0", 33, 160, ggml_codec(CodecKind::kQ4_0)},
                           SweepCase{"q4_1", 33, 160, ggml_codec(CodecKind::kQ4_1)},
                           SweepCase{"q8_0", 33, 160, ggml_codec(CodecKind::kQ8_0)},
                           SweepCase{"one_column", 3, 1, int_codec(4, 1, true)}};

class BlockSweep : public testing::TestWithParam<std::tuple<SweepCase, ActOrder>> {};

TEST_P(BlockSweep, GivesTheBitsOfTheCpu) {
  const auto& [sample, order] = GetParam();
  ThreadPool pool(1);
  const Factor factor =
      cpu::factor(pool, sample_hessian(sample_activations(300, sample.cols, 11, 5)), sample.cols, {.order = order});
  const Sample w(sample.rows, sample.cols, 2);
  const EncodedRows expected = cpu::sweep({w.view(), &factor, sample.codec});
  for (const ThreadOrder threads : {ThreadOrder::kForward, ThreadOrder::kBackward}) {
    const Coded actual = sweep(w, factor, sample.codec, threads);
    expect_equal(actual, expected);
    EXPECT_EQ(actual.loss, expected.loss);
  }
}

std::string name_of(const SweepCase& sample, ActOrder order) {
  constexpr std::array<const char*, 3> kOrders = {"none", "static", "dynamic"};
  return std::string(sample.name) + "_" + kOrders[static_cast<std::size_t>(order)];
}

INSTANTIATE_TEST_SUITE_P(Cases, BlockSweep,
                         testing::Combine(testing::ValuesIn(kCases),
                                          testing::Values(ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic)),
                         [](const auto& test) { return name_of(std::get<0>(test.param), std::get<1>(test.param)); });

// What lets linears of an input group share a launch: a row's codes, parameters and loss are the same alone and among others.
TEST(BlockSweep, ARowDoesNotDependOnTheNumberOfRows) {
  ThreadPool pool(1);
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic}) {
    const Factor factor = cpu::factor(pool, sample_hessian(sample_activations(300, 200, 11)), 200, {.order = order});
    const Sample w(150, 200, 2);
    const CodecSpec codec = int_codec(4, 32, false);
    const Coded whole = sweep(w, factor, codec, ThreadOrder::kForward);
    for (const auto& [begin, rows] : {std::pair{0, 1}, std::pair{63, 2}, std::pair{64, 70}, std::pair{149, 1}}) {
      Sample some(rows, 200, 2);
      std::copy_n(w.values.begin() + begin * 200, rows * 200, some.values.begin());
      const Coded alone = sweep(some, factor, codec, ThreadOrder::kBackward);
      EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), whole.codes.begin() + begin * 200)) << begin;
      EXPECT_TRUE(std::equal(alone.loss.begin(), alone.loss.end(), whole.loss.begin() + begin)) << begin;
    }
  }
}

TEST(BlockSweepMutant, AMissingUpdateIsSeen) {
  ThreadPool pool(1);
  const Factor factor = cpu::factor(pool, sample_hessian(sample_activations(300, 300, 11)), 300, {});
  const Sample w(16, 300, 2);
  EXPECT_NE(sweep(w, factor, int_codec(4, 32, true), ThreadOrder::kForward, false).codes,
            cpu::sweep({w.view(), &factor, int_codec(4, 32, true)}).codes);
}

class BlockCodec : public testing::TestWithParam<SweepCase> {};

TEST_P(BlockCodec, RoundsAndDecodesLikeTheCpu) {
  const SweepCase& sample = GetParam();
  const CodecSpec& spec = sample.codec;
  const Sample w(sample.rows, sample.cols, 5);
  const EncodedRows expected = cpu::encode(w.view(), spec);
  const std::int64_t rows = w.rows, cols = w.cols, group = spec.group_of(cols), groups = spec.groups(cols);
  std::vector<GroupParams> params(static_cast<std::size_t>(groups * rows));
  std::vector<std::int8_t> range(params.size());
  std::vector<std::uint8_t> codes(w.values.size());
  std::vector<double> loss(params.size());
  std::vector<std::int32_t> g_idx;
  for (std::int64_t c = 0; c < cols; ++c) g_idx.push_back(static_cast<std::int32_t>(c / group));
  std::vector<float> decoded(w.values.size()), decoded_transposed(w.values.size()), expected_decoded(w.values.size());
  codec::with_grid(spec, [&](const auto& grid) {
    using Grid = std::decay_t<decltype(grid)>;
    run_on_host(
        ForEachElement<FitOp<Grid>>{{grid, w.values.data(), cols, rows, cols, group, params.data(), range.data()}, groups, rows});
    run_on_host(ForEachElement<RoundOp<Grid>>{
        {grid, w.values.data(), cols, rows, cols, group, params.data(), codes.data(), loss.data()}, groups, rows});
    run_on_host(ForEachElement<DecodeOp<Grid>>{
        {grid, expected.codes.data(), expected.params.data(), groups, 1, g_idx.data(), cols, decoded.data(), cols}, rows, cols});
    run_on_host(ForEachElement<DecodeOp<Grid>>{
        {grid, codes.data(), params.data(), 1, rows, g_idx.data(), cols, decoded_transposed.data(), cols}, rows, cols});
  });
  expect_equal(finish(codes, params, rows, groups), expected);
  for (std::int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (std::int64_t g = 0; g < groups; ++g) sum += loss[static_cast<std::size_t>(g * rows + r)];
    EXPECT_NEAR(sum, expected.loss[static_cast<std::size_t>(r)], 1e-6 * sum);
  }
  cpu::decode(expected, spec, g_idx, {expected_decoded.data(), rows, cols, cols, MemSpace::kHost});
  EXPECT_EQ(decoded, expected_decoded);
  EXPECT_EQ(decoded_transposed, expected_decoded);
}

INSTANTIATE_TEST_SUITE_P(Cases, BlockCodec, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(BlockCodec, FindsWhatIsNotFinite) {
  Sample x(3, 2000, 1);
  std::int32_t found = 0;
  run_on_host(ForEachElement<FindNonFiniteOp>{{x.values.data(), 2000, &found}, 3, 2000});
  EXPECT_EQ(found, 0);
  x.at(2, 1999) = -INFINITY;
  run_on_host(ForEachElement<FindNonFiniteOp>{{x.values.data(), 2000, &found}, 3, 2000});
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace mpiquant::block
