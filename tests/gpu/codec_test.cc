// Codes of the GPU are the CPU's, bit for bit, for equal weights, factor and parameters.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <tuple>

#include "tests/gpu/gpu_support.h"

namespace mpiquant {
namespace {

void expect_equal(const EncodedRows& actual, const EncodedRows& expected) {
  EXPECT_EQ(actual.codes, expected.codes);
  ASSERT_EQ(actual.params.size(), expected.params.size());
  for (std::size_t i = 0; i < expected.params.size(); ++i) {
    ASSERT_EQ(actual.params[i].scale, expected.params[i].scale) << i;
    ASSERT_EQ(actual.params[i].offset, expected.params[i].offset) << i;
  }
  EXPECT_EQ(actual.scale_underflows, expected.scale_underflows);
  EXPECT_EQ(actual.scale_overflows, expected.scale_overflows);
}

EncodedRows sweep(Backend& backend, const Sample& w, const Factor& factor, const CodecSpec& codec) {
  const OnDevice device(backend, w, 5);
  EncodedRows out;
  on_stream(backend, [&](Stream& s) { out = backend.sweep(s, {device.view(), &factor, codec}); });
  return out;
}

Factor cpu_factor(std::int64_t cols, ActOrder order) {
  return make_cpu_backend(1)->factor(
      sample_hessian(sample_activations(300, cols, 11, std::min<std::int64_t>(5, cols - 1) % cols)), cols, {.order = order});
}

struct CodecCase {
  const char* name;
  std::int64_t rows;
  std::int64_t cols;
  CodecSpec codec;
};

const std::array kCases = {CodecCase{"g32", 19, 160, int_codec(4, 32, true)},
                           CodecCase{"row", 7, 300, int_codec(3, -1, false)},
                           CodecCase{"g128_three_blocks", 128, 300, int_codec(4, 128, false, DType::kF32)},
                           CodecCase{"g128_sym", 128, 1024, int_codec(4, 128, true)},
                           CodecCase{"g48_ragged", 65, 200, int_codec(2, 48, true, DType::kBF16)},
                           CodecCase{"g200_beyond_a_block", 9, 450, int_codec(8, 200, false)},
                           CodecCase{"g24_search", 5, 72, int_codec(4, 24, true, DType::kF16, true)},
                           CodecCase{"g64_search", 128, 256, int_codec(3, 64, false, DType::kF16, true)},
                           CodecCase{"q4_0", 33, 160, ggml_codec(CodecKind::kQ4_0)},
                           CodecCase{"q4_1", 33, 160, ggml_codec(CodecKind::kQ4_1)},
                           CodecCase{"q8_0", 33, 160, ggml_codec(CodecKind::kQ8_0)},
                           CodecCase{"one_column", 3, 1, int_codec(4, 1, true)}};

class GpuSweep : public testing::TestWithParam<std::tuple<CodecCase, ActOrder>> {};

TEST_P(GpuSweep, GivesTheBitsOfTheCpu) {
  const auto& [sample, order] = GetParam();
  Factor factor = cpu_factor(sample.cols, order);
  const Sample w(sample.rows, sample.cols, 2);
  const auto gpu = make_cuda_backend(test_gpu()), cpu = make_cpu_backend(1);
  const EncodedRows expected = sweep(*cpu, w, factor, sample.codec);
  const EncodedRows once = sweep(*gpu, w, factor, sample.codec);
  expect_equal(once, expected);
  EXPECT_EQ(once.loss, expected.loss);
  gpu->make_resident(factor);
  expect_equal(sweep(*gpu, w, factor, sample.codec), expected);
}

std::string name_of(const CodecCase& sample, ActOrder order) {
  constexpr std::array<const char*, 3> kOrders = {"none", "static", "dynamic"};
  return std::string(sample.name) + "_" + kOrders[static_cast<std::size_t>(order)];
}

INSTANTIATE_TEST_SUITE_P(Cases, GpuSweep,
                         testing::Combine(testing::ValuesIn(kCases),
                                          testing::Values(ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic)),
                         [](const auto& test) { return name_of(std::get<0>(test.param), std::get<1>(test.param)); });

TEST(GpuSweepRows, ARowDoesNotDependOnHowManyAreSweptAtOnce) {
  const Factor factor = cpu_factor(640, ActOrder::kStatic);
  const CodecSpec codec = int_codec(4, 64, false);
  const auto gpu = make_cuda_backend(test_gpu());
  const Sample w(1000, 640, 4);
  const EncodedRows whole = sweep(*gpu, w, factor, codec);
  for (const std::int64_t begin : {0, 1, 517, 999}) {
    const std::int64_t rows = std::min<std::int64_t>(128, 1000 - begin);
    Sample part(rows, 640, 0);
    std::copy_n(w.values.begin() + begin * 640, rows * 640, part.values.begin());
    const EncodedRows alone = sweep(*gpu, part, factor, codec);
    EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), whole.codes.begin() + begin * 640)) << begin;
    EXPECT_TRUE(std::equal(alone.loss.begin(), alone.loss.end(), whole.loss.begin() + begin)) << begin;
  }
}

// Parts of two linears in one launch: each has its result alone, and decodes to it from what stayed on the device.
TEST(GpuSweepGroup, PartsHaveTheResultsOfOneByOne) {
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic}) {
    const Factor factor = cpu_factor(320, order);
    const CodecSpec codec = int_codec(4, 64, false);
    const auto gpu = make_cuda_backend(test_gpu()), cpu = make_cpu_backend(1);
    const Sample first(200, 320, 4), second(70, 320, 5);
    const OnDevice a(*gpu, first), b(*gpu, second, 5), decoded(*gpu, Sample(57, 320, 6), 3);
    const std::vector<ConstMatrix> parts = {a.view().row_range(0, 128), a.view().row_range(128, 200), b.view().row_range(13, 70)};
    const std::vector<ConstMatrix> on_host = {first.view().row_range(0, 128), first.view().row_range(128, 200),
                                              second.view().row_range(13, 70)};
    std::vector<EncodedRows> together;
    on_stream(*gpu, [&](Stream& s) { together = gpu->sweep_group(s, {parts, &factor, codec}); });
    ASSERT_EQ(together.size(), 3U);
    Stream host;
    EncodedRows last;
    for (std::size_t i = 0; i < together.size(); ++i) {
      last = cpu->sweep(host, {on_host[i], &factor, codec});
      expect_equal(together[i], last);
      EXPECT_EQ(together[i].loss, last.loss);
    }
    std::vector<std::int32_t> g_idx;
    for (std::int64_t c = 0; c < 320; ++c) g_idx.push_back(static_cast<std::int32_t>(c * 7 % 5));
    Sample expected(57, 320, 0);
    cpu->decode(host, last, codec, g_idx, {expected.values.data(), 57, 320, 320, MemSpace::kHost});
    ASSERT_NE(together[2].resident, nullptr);
    on_stream(*gpu, [&](Stream& s) { gpu->decode(s, together[2], codec, g_idx, decoded.view()); });
    EXPECT_EQ(decoded.host().values, expected.values);
  }
}

class GpuCodec : public testing::TestWithParam<CodecCase> {};

TEST_P(GpuCodec, RoundsAndDecodesLikeTheCpu) {
  const CodecCase& sample = GetParam();
  const auto gpu = make_cuda_backend(test_gpu()), cpu = make_cpu_backend(1);
  Sample w(sample.rows, sample.cols, 5);
  for (std::int64_t c = 0; c < w.cols; ++c) w.at(0, c) *= 1e-9F;  // scales that underflow
  const OnDevice device(*gpu, w, 2);
  EncodedRows actual, expected;
  Stream host;
  on_stream(*gpu, [&](Stream& s) { actual = gpu->encode(s, device.view(), sample.codec); });
  expected = cpu->encode(host, w.view(), sample.codec);
  expect_equal(actual, expected);
  for (std::size_t r = 0; r < expected.loss.size(); ++r)  // the CPU makes each error in fp32
    EXPECT_NEAR(actual.loss[r], expected.loss[r], 1e-6 * expected.loss[r]);
  std::vector<std::int32_t> g_idx;
  for (std::int64_t c = 0; c < w.cols; ++c) g_idx.push_back(static_cast<std::int32_t>(c / sample.codec.group_of(w.cols)));
  Sample decoded(w.rows, w.cols, 0);
  cpu->decode(host, expected, sample.codec, g_idx, {decoded.values.data(), w.rows, w.cols, w.cols, MemSpace::kHost});
  on_stream(*gpu, [&](Stream& s) { gpu->decode(s, expected, sample.codec, g_idx, device.view()); });
  EXPECT_EQ(device.host().values, decoded.values);
}

INSTANTIATE_TEST_SUITE_P(Cases, GpuCodec, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(GpuCodecErrors, WeightsThatAreNotFiniteAreRefused) {
  const auto gpu = make_cuda_backend(test_gpu());
  const Factor factor = cpu_factor(64, ActOrder::kNone);
  for (const float bad : {NAN, INFINITY}) {
    Sample w(4, 64, 4);
    w.at(3, 63) = bad;
    EXPECT_EQ(code_of([&] { sweep(*gpu, w, factor, int_codec(4, 32, true)); }), ExitCode::kInput);
    const OnDevice device(*gpu, w);
    EXPECT_EQ(code_of([&] { on_stream(*gpu, [&](Stream& s) { gpu->encode(s, device.view(), int_codec(4, 32, true)); }); }),
              ExitCode::kInput);
  }
}

}  // namespace
}  // namespace mpiquant
