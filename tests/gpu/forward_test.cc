// The GPU's forward pass against the CPU's.
#include <gtest/gtest.h>

#include <cmath>

#include "src/base/dtype.h"
#include "tests/gpu/gpu_support.h"

namespace mpiquant {
namespace {

Sample rounded(Sample x, ComputeType compute) {
  if (compute != ComputeType::kF32)
    for (float& value : x.values) value = round_to(compute == ComputeType::kBF16 ? DType::kBF16 : DType::kF16, value);
  return x;
}

class Forward : public testing::TestWithParam<ComputeType> {};

TEST_P(Forward, LinearMultipliesByTheTransposeAndAddsTheBias) {
  const auto gpu = make_cuda_backend(test_gpu(GetParam()));
  for (const auto& [tokens, in, out] : {std::tuple{1, 8, 8}, {5, 37, 11}, {300, 256, 768}, {257, 172, 64}}) {
    const Sample x = rounded(Sample(tokens, in, 1), GetParam()), w = rounded(Sample(out, in, 2), GetParam()), bias(1, out, 3);
    const OnDevice gx(*gpu, x, 3), gw(*gpu, w, 5), gb(*gpu, bias), gy(*gpu, Sample(tokens, out, 4), 7);
    on_stream(*gpu, [&](Stream& s) { gpu->linear(s, gx.view(), gw.view(), gb.view().data, gy.view()); });
    Sample expected(tokens, out, 0);
    double largest = 0;
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t n = 0; n < out; ++n) {
        double sum = static_cast<double>(bias.values[static_cast<std::size_t>(n)]);
        for (std::int64_t k = 0; k < in; ++k)
          sum += static_cast<double>(x.values[static_cast<std::size_t>(t * in + k)]) *
                 static_cast<double>(w.values[static_cast<std::size_t>(n * in + k)]);
        expected.at(t, n) = static_cast<float>(sum);
        largest = std::max(largest, std::abs(sum));
      }
    EXPECT_LE(largest_difference(gy.host(), expected), 2e-6 * largest * std::sqrt(in)) << tokens << ' ' << in << ' ' << out;
  }
}

TEST_P(Forward, LinearGivesTheSameBitsOnAnyStreamAndBesideOtherWork) {
  const auto gpu = make_cuda_backend(test_gpu(GetParam(), false, 4));
  const OnDevice x(*gpu, Sample(512, 1024, 1)), w(*gpu, Sample(768, 1024, 2));
  std::vector<OnDevice> y;
  for (int i = 0; i < 16; ++i) y.emplace_back(*gpu, Sample(512, 768, 3));
  gpu->for_each(
      16, [&](Stream& s, std::int64_t i) { gpu->linear(s, x.view(), w.view(), nullptr, y[static_cast<std::size_t>(i)].view()); });
  const Sample first = y.front().host();
  for (const OnDevice& each : y) EXPECT_EQ(each.host().values, first.values);
}

INSTANTIATE_TEST_SUITE_P(Types, Forward, testing::Values(ComputeType::kF32, ComputeType::kBF16, ComputeType::kF16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST(ForwardElements, EqualTheCpu) {
  const auto gpu = make_cuda_backend(test_gpu());
  const auto cpu = make_cpu_backend(1);
  Stream host;
  const Sample x(37, 1500, 1), weight(1, 1500, 2);
  Sample norm(37, 1500, 0), sum = x, gate(37, 1500, 0);
  const Sample other(37, 1500, 3);
  const auto writable = [](Sample& s) { return Matrix{s.values.data(), s.rows, s.cols, s.cols, MemSpace::kHost}; };
  cpu->rms_norm(host, x.view(), weight.values.data(), 1e-5F, writable(norm));
  cpu->add(host, other.view(), writable(sum));
  cpu->silu_gate(host, x.view(), other.view(), writable(gate));
  const OnDevice gx(*gpu, x, 5), gw(*gpu, weight), go(*gpu, other, 1), gn(*gpu, x, 2), gs(*gpu, x), gg(*gpu, x);
  on_stream(*gpu, [&](Stream& s) {
    gpu->rms_norm(s, gx.view(), gw.view().data, 1e-5F, gn.view());
    gpu->add(s, go.view(), gs.view());
    gpu->silu_gate(s, gx.view(), go.view(), gg.view());
  });
  EXPECT_LE(largest_difference(gn.host(), norm), 2e-6);
  EXPECT_EQ(gs.host().values, sum.values);
  EXPECT_LE(largest_difference(gg.host(), gate), 5e-6);
  const OnDevice copied(*gpu, other);
  on_stream(*gpu, [&](Stream& s) { gpu->copy(s, gx.view(), copied.view()); });
  EXPECT_EQ(copied.host().values, x.values);
}

TEST(ForwardElements, RotaryEqualsTheCpu) {
  const auto gpu = make_cuda_backend(test_gpu());
  const auto cpu = make_cpu_backend(1);
  Stream host;
  Sample x(30, 256, 1), expected = x;
  const Sample cos(20, 32, 2), sin(20, 32, 3);
  const std::vector<std::int64_t> lengths = {20, 1, 9};
  cpu->rotary(host, {expected.values.data(), 30, 256, 256, MemSpace::kHost}, 64, lengths, cos.view(), sin.view());
  const OnDevice gx(*gpu, x, 4), gc(*gpu, cos), gs(*gpu, sin);
  on_stream(*gpu, [&](Stream& s) { gpu->rotary(s, gx.view(), 64, lengths, gc.view(), gs.view()); });
  EXPECT_EQ(gx.host().values, expected.values);
}

TEST(ForwardTransfers, LargeMatricesAndFileTypes) {
  const auto gpu = make_cuda_backend(test_gpu());
  const Sample wide(3, 3'000'001, 1), tall(30001, 129, 2);  // a row beyond a staging buffer, and many rows of a padded matrix
  EXPECT_EQ(OnDevice(*gpu, wide, 3).host().values, wide.values);
  EXPECT_EQ(OnDevice(*gpu, tall, 7).host().values, tall.values);
  EXPECT_EQ(OnDevice(*gpu, tall).host().values, tall.values);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    Sample x(17, 33, 5);
    x.values[0] = 1e-7F;  // a subnormal half
    x.values[1] = 65504;
    std::vector<std::byte> raw(x.values.size() * size_of(dtype));
    from_f32(dtype, x.values, raw);
    const OnDevice out(*gpu, Sample(17, 33, 6), 2);
    on_stream(*gpu, [&](Stream& s) { gpu->upload_values(s, dtype, raw, out.view()); });
    for (float& value : x.values) value = round_to(dtype, value);
    EXPECT_EQ(out.host().values, x.values);
  }
}

struct AttentionCase {
  std::int64_t heads, kv_heads, head_dim, window;
  std::vector<std::int64_t> lengths;
};

class GpuAttention : public testing::TestWithParam<AttentionCase> {
 protected:
  static Sample run(Backend& backend, const Sample& q, const Sample& k, const Sample& v, std::int64_t window, float soft_cap = 0,
                    const std::vector<float>& sinks = {}) {
    const AttentionCase& c = GetParam();
    const OnDevice gq(backend, q, 8), gk(backend, k), gv(backend, v), out(backend, Sample(q.rows, q.cols, 9));
    Sample sink(1, c.heads, 0);
    std::copy(sinks.begin(), sinks.end(), sink.values.begin());
    const OnDevice gsinks(backend, sink);
    const AttentionShape shape{c.heads,
                               c.kv_heads,
                               c.head_dim,
                               window,
                               static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim))),
                               soft_cap,
                               sinks.empty() ? nullptr : gsinks.view().data};
    on_stream(backend, [&](Stream& s) { backend.attention(s, gq.view(), gk.view(), gv.view(), shape, c.lengths, out.view()); });
    return out.host();
  }
};

TEST_P(GpuAttention, TensorCoresPlainLoopsAndCpuAgree) {
  const AttentionCase& c = GetParam();
  std::int64_t rows = 0;
  for (const std::int64_t length : c.lengths) rows += length;
  const Sample q = rounded(Sample(rows, c.heads * c.head_dim, 1), ComputeType::kBF16),
               k = rounded(Sample(rows, c.kv_heads * c.head_dim, 2), ComputeType::kBF16),
               v = rounded(Sample(rows, c.kv_heads * c.head_dim, 3), ComputeType::kBF16);
  const Sample expected = run(*make_cpu_backend(1), q, k, v, c.window);
  const auto gpu = make_cuda_backend(test_gpu()), plain = make_cuda_backend(test_gpu(ComputeType::kBF16, true)),
             full = make_cuda_backend(test_gpu(ComputeType::kF32));
  EXPECT_LE(largest_difference(run(*full, q, k, v, c.window), expected), 5e-6);
  EXPECT_LE(largest_difference(run(*plain, q, k, v, c.window), expected), 0.03);  // weights are rounded to bfloat16
  EXPECT_LE(largest_difference(run(*gpu, q, k, v, c.window), expected), 0.03);
  EXPECT_LE(largest_difference(run(*make_cuda_backend(test_gpu(ComputeType::kF16)), q, k, v, c.window), expected), 0.02);
  std::vector<float> sinks;
  for (std::int64_t head = 0; head < c.heads; ++head) sinks.push_back(0.3F * static_cast<float>(head) - 0.5F);
  const Sample capped = run(*make_cpu_backend(1), q, k, v, c.window, 1.5F, sinks);
  EXPECT_LE(largest_difference(run(*full, q, k, v, c.window, 1.5F, sinks), capped), 5e-6);
  EXPECT_LE(largest_difference(run(*gpu, q, k, v, c.window, 1.5F, sinks), capped), 0.03);
  if (c.window > 1) {
    EXPECT_GT(largest_difference(run(*full, q, k, v, c.window + 1), expected), 1e-3) << "a window off by one must show";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, GpuAttention,
                         testing::Values(AttentionCase{1, 1, 2, 0, {1}}, AttentionCase{4, 2, 8, 0, {70, 1, 64}},
                                         AttentionCase{9, 3, 64, 0, {65, 200}}, AttentionCase{8, 2, 128, 0, {300}},
                                         AttentionCase{2, 1, 256, 0, {130}}, AttentionCase{4, 1, 16, 1, {67}},
                                         AttentionCase{4, 2, 16, 48, {256, 30, 100}}, AttentionCase{2, 2, 72, 64, {191}}));

}  // namespace
}  // namespace mpiquant
