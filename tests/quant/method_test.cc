#include "src/quant/method.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "src/base/error.h"
#include "src/quant/encoded.h"
#include "src/quant/hessian.h"
#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

TEST(Methods, EveryRowIsFoundAndConverts) {
  const auto backend = make_cpu_backend(1);
  const Sample x = sample_activations(100, 64, 1), w(10, 64, 2);
  const Factor factor = backend->factor(sample_hessian(x), 64, {});
  Stream stream;
  for (const Method& method : methods()) {
    EXPECT_EQ(find_method(method.name).convert, method.convert);
    const std::array<ConstMatrix, 3> parts = {w.view(), w.view().row_range(0, 4), w.view().row_range(4, 10)};
    const std::vector<EncodedRows> rows =
        method.convert(*backend, stream, parts, method.needs_hessian ? &factor : nullptr, int_codec(4, 32, true));
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].rows, 10);
    EXPECT_EQ(rows[0].cols, 64);
    EXPECT_EQ(rows[0].codes.size(), 640U);
    EXPECT_EQ(rows[0].params.size(), 20U);
    EXPECT_EQ(rows[0].loss.size(), 10U);
    EXPECT_TRUE(std::equal(rows[2].codes.begin(), rows[2].codes.end(), rows[0].codes.begin() + 4 * 64));
  }
}

TEST(Methods, AnUnknownNameListsTheKnownOnes) {
  try {
    find_method("gtpq");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("rtn, gptq"), std::string::npos);
  }
}

TEST(GroupIndex, FollowsTheOrderOnlyWhenDynamic) {
  Factor factor;
  factor.cols = 5;
  factor.visit = {3, 0, 4, 1, 2};
  const CodecSpec codec = int_codec(4, 2, true);
  const std::vector<std::int32_t> plain = {0, 0, 1, 1, 2};
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic}) {
    factor.order = order;
    EXPECT_EQ(group_index(codec, &factor, 5), plain);
  }
  EXPECT_EQ(group_index(codec, nullptr, 5), plain);
  factor.order = ActOrder::kDynamic;
  EXPECT_EQ(group_index(codec, &factor, 5), (std::vector<std::int32_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(group_index(int_codec(4, -1, true), &factor, 5), std::vector<std::int32_t>(5, 0));
}

TEST(Encoded, TravelsAsBytes) {
  const Sample w(7, 40, 2);
  EncodedRows rows = make_cpu_backend(1)->encode(*std::make_unique<Stream>(), w.view(), int_codec(3, 16, false));
  rows.row_begin = 384;
  rows.scale_underflows = 2;
  rows.scale_overflows = 1;
  std::vector<std::byte> bytes = to_bytes(rows);
  EXPECT_EQ(static_cast<std::int64_t>(bytes.size()), encoded_bytes(int_codec(3, 16, false), 7, 40));
  const EncodedRows back = encoded_from_bytes(bytes);
  EXPECT_EQ(back.row_begin, 384);
  EXPECT_EQ(back.rows, 7);
  EXPECT_EQ(back.cols, 40);
  EXPECT_EQ(back.codes, rows.codes);
  EXPECT_EQ(back.loss, rows.loss);
  EXPECT_EQ(back.scale_underflows, 2);
  EXPECT_EQ(back.scale_overflows, 1);
  EXPECT_EQ(to_bytes(back), bytes);
  bytes.pop_back();
  EXPECT_THROW(encoded_from_bytes(bytes), Error);
  EXPECT_THROW(encoded_from_bytes(std::span(bytes).first(20)), Error);
  const std::vector<std::byte> hostile(48, std::byte{0x7f});
  EXPECT_THROW(encoded_from_bytes(hostile), Error);
}

TEST(HessianExponent, KeepsTheWorstSumsInRange) {
  for (const float diagonal : {1e-40F, 1e-20F, 0.75F, 1.0F, 3e7F, std::numeric_limits<float>::max()})
    for (const std::int64_t units : {1, 2, 3, 64, 1024, 100000, 1 << 30}) {
      const int e = hessian_exponent(diagonal, units);
      const double element = std::ldexp(2.0 * static_cast<double>(diagonal), e);
      EXPECT_LE(element, 0x1p51);
      EXPECT_LT(static_cast<double>(units) * (element + 0.5), 0x1p62);
      // Not far below either: half the elements' 2^51, or of the sums' 2^62.
      EXPECT_TRUE(element > 0x1p49 || static_cast<double>(units) * element > 0x1p58) << diagonal << " " << units;
    }
  EXPECT_EQ(hessian_exponent(0, 3), 0);
  EXPECT_THROW(hessian_exponent(INFINITY, 3), Error);
  EXPECT_THROW(hessian_exponent(NAN, 3), Error);
}

TEST(CanonicalHessian, IsTheSumRoundedOnce) {
  const std::vector<std::int64_t> sum = {3, (std::int64_t{1} << 40) + 1, -5};
  const Hessian h = canonical_hessian(sum, 2, 2, 10);
  EXPECT_EQ(h.packed, (std::vector<float>{0.75F, 0x1p38F, -1.25F}));
  EXPECT_EQ(h.tokens, 10);
  EXPECT_THROW(canonical_hessian(sum, 2, 2, 0), Error);
}

// Units summed on any number of ranks: the same canonical Hessian, close to the exact one.
TEST(CanonicalHessian, EqualsTheExactSumToFp32) {
  const auto backend = make_cpu_backend(2);
  std::vector<Sample> units;
  for (unsigned seed = 1; seed <= 6; ++seed) units.push_back(sample_activations(64, 48, seed));
  Stream stream;
  float largest = 0;
  for (const Sample& unit : units) largest = std::max(largest, backend->diagonal_max(stream, unit.view()));
  const int e = hessian_exponent(largest, 6);
  std::vector<std::int64_t> sum(48 * 49 / 2);
  std::vector<double> exact(sum.size());
  for (const Sample& unit : units) {
    const ConstMatrix view = unit.view();
    backend->hessian_add({&view, 1}, e, sum);
    const std::vector<float> one = sample_hessian(unit);
    for (std::size_t i = 0; i < one.size(); ++i) exact[i] += static_cast<double>(one[i]);
  }
  const Hessian h = canonical_hessian(sum, e, 48, 6 * 64);
  for (std::size_t i = 0; i < exact.size(); ++i)
    EXPECT_NEAR(static_cast<double>(h.packed[i]), exact[i], 2e-6 * 6 * static_cast<double>(largest));
}

}  // namespace
}  // namespace mpiquant
