#include "tests/kernels/guarded_backend.h"

#include <gtest/gtest.h>

#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

TEST(GuardedBackend, GivesTheResultsOfTheBackendInside) {
  GuardedBackend guarded(make_cpu_backend(2));
  const auto plain = make_cpu_backend(1);
  const Sample x = sample_activations(60, 64, 3);
  const Sample w(40, 64, 4);
  Stream stream;
  const BackendBuffer x_buffer = guarded.allocate(x.values.size() * sizeof(float)),
                      w_buffer = guarded.allocate(w.values.size() * sizeof(float));
  guarded.upload(stream, x.values, x_buffer.matrix(60, 64));
  guarded.upload(stream, w.values, w_buffer.matrix(40, 64));
  std::vector<std::int64_t> a(64 * 65 / 2), b(a);
  const ConstMatrix device_x = x_buffer.matrix(60, 64), host_x = x.view();
  guarded.hessian_add({&device_x, 1}, 20, a);
  plain->hessian_add({&host_x, 1}, 20, b);
  EXPECT_EQ(a, b);
  const BackendBuffer sum = guarded.hessian_zeros(64), host_sum = plain->hessian_zeros(64);
  guarded.hessian_add_to({&device_x, 1}, 20, sum);
  plain->hessian_add_to({&host_x, 1}, 20, host_sum);
  const Factor made = guarded.factor_packed(guarded.hessian_rounded(sum, 20), 64, {});
  EXPECT_TRUE(made.upper.empty());
  EXPECT_EQ(guarded.on_host(made).upper, plain->factor_packed(plain->hessian_rounded(host_sum, 20), 64, {}).upper);
  const Factor factor = plain->factor(std::vector<float>(a.begin(), a.end()), 64, {});
  const CodecSpec codec = int_codec(4, 32, true);
  const ConstMatrix device_w = w_buffer.matrix(40, 64);
  std::vector<EncodedRows> parts(4);
  guarded.for_each(4, [&](Stream& s, std::int64_t i) {  // operations share the buffer
    parts[static_cast<std::size_t>(i)] = guarded.sweep(s, {device_w.row_range(10 * i, 10 * i + 10), &factor, codec});
  });
  const EncodedRows whole = plain->sweep(stream, {w.view(), &factor, codec});
  std::vector<std::uint8_t> codes;
  for (const EncodedRows& part : parts) codes.insert(codes.end(), part.codes.begin(), part.codes.end());
  EXPECT_EQ(codes, whole.codes);
}

TEST(GuardedBackend, HostMemoryIsRefused) {
  GuardedBackend guarded(make_cpu_backend(1));
  Sample w(4, 32, 4);
  Stream stream;
  EXPECT_THROW(guarded.encode(stream, w.view(), int_codec(4, 32, true)), Error);
  const ConstMatrix liar{w.values.data(), 4, 32, 32, MemSpace::kDevice};
  EXPECT_THROW(guarded.encode(stream, liar, int_codec(4, 32, true)), Error);
}

TEST(GuardedBackendDeathTest, HostAccessDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // OpenBLAS has threads of its own
  GuardedBackend guarded(make_cpu_backend(1));
  const BackendBuffer buffer = guarded.allocate(64);
  EXPECT_DEATH(*reinterpret_cast<volatile float*>(buffer.data()) = 1.0F, "");
}

}  // namespace
}  // namespace mpiquant
