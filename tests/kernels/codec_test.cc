#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "kernels/codec/activations.h"
#include "kernels/codec/blocks.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/grids.h"
#include "kernels/codec/rows.h"
#include "kernels/cpu/encode.h"
#include "kernels/cpu/panel.h"
#include "src/base/error.h"
#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

std::string golden(const std::string& name) {
  std::ifstream file(std::string(MPIQUANT_SOURCE_DIR) + "/tests/kernels/gguf-golden/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Sample golden_input() {
  Sample out(12, 1024, 0);
  const std::string bytes = golden("input_f32_12x1024.bin");
  EXPECT_EQ(bytes.size(), out.values.size() * sizeof(float));
  std::memcpy(out.values.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<std::int32_t> plain_groups(const CodecSpec& codec, std::int64_t cols) {
  std::vector<std::int32_t> out;
  for (std::int64_t c = 0; c < cols; ++c) out.push_back(static_cast<std::int32_t>(c / codec.group_of(cols)));
  return out;
}

// ggml's blocks of 32: half d, for Q4_1 half m, then bytes, or nibbles of elements j (low) and j + 16 (high).
std::string ggml_blocks(const EncodedRows& rows, CodecKind kind) {
  std::string out;
  const auto half = [&](float value) {
    const std::uint16_t bits = f32_to_f16(value);
    out.push_back(static_cast<char>(bits & 0xffU));
    out.push_back(static_cast<char>(bits >> 8U));
  };
  for (std::size_t block = 0; block < rows.params.size(); ++block) {
    half(rows.params[block].scale);
    if (kind == CodecKind::kQ4_1) half(rows.params[block].offset);
    const std::uint8_t* codes = rows.codes.data() + block * 32;
    if (kind == CodecKind::kQ8_0)
      for (int i = 0; i < 32; ++i) out.push_back(static_cast<char>(codes[i] - 128));
    else
      for (int i = 0; i < 16; ++i) out.push_back(static_cast<char>(codes[i] | codes[i + 16] << 4));
  }
  return out;
}

class Golden : public testing::TestWithParam<std::pair<CodecKind, const char*>> {};

TEST_P(Golden, RoundToNearestGivesGgmlsBytes) {
  const auto [kind, name] = GetParam();
  const std::string expected = golden(std::string(name) + ".bin");
  const EncodedRows rows = cpu::encode(golden_input().view(), ggml_codec(kind));
  const std::string actual = ggml_blocks(rows, kind);
  ASSERT_EQ(actual.size(), expected.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (actual[i] != expected[i] && different++ < 5)
      ADD_FAILURE() << "byte " << i << " of row " << i / (expected.size() / 12) << ": " << int(actual[i]) << " for "
                    << int(expected[i]);
  EXPECT_EQ(different, 0U);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Golden,
                         testing::Values(std::pair{CodecKind::kQ4_0, "q4_0"}, std::pair{CodecKind::kQ4_1, "q4_1"},
                                         std::pair{CodecKind::kQ8_0, "q8_0"}),
                         [](const auto& test) { return std::string(test.param.second); });

TEST(Scalar, HalfAndBfloatRoundAsTheBaseLibrary) {
  for (std::uint64_t bits = 0; bits < 0x7f800000U; bits += 977)
    for (const float x :
         {std::bit_cast<float>(static_cast<std::uint32_t>(bits)), -std::bit_cast<float>(static_cast<std::uint32_t>(bits))}) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(codec::through_f16(x)), std::bit_cast<std::uint32_t>(round_to(DType::kF16, x))) << x;
      ASSERT_EQ(codec::f16_bits(codec::through_f16(x)), f32_to_f16(x)) << x;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(codec::through_bf16(x)), std::bit_cast<std::uint32_t>(round_to(DType::kBF16, x)))
          << x;
    }
}

TEST(Scalar, RoundsHalfToEven) {
  EXPECT_EQ(codec::round_even(0.5F), 0.0F);
  EXPECT_EQ(codec::round_even(1.5F), 2.0F);
  EXPECT_EQ(codec::round_even(-2.5F), -2.0F);
  EXPECT_EQ(codec::round_even(127.5), 128.0);
  EXPECT_EQ(codec::round_even(INFINITY), INFINITY);
}

TEST(Scalar, PowerIsWithinTwoToMinus20) {
  for (double e = 1e-6; e <= 1.0; e *= 1.0001) {
    const double exact = std::pow(static_cast<double>(static_cast<float>(e)), 2.4);
    ASSERT_NEAR(static_cast<double>(codec::power_2_4(static_cast<float>(-e))) / exact, 1.0, 1e-6) << e;
  }
  EXPECT_LT(codec::power_2_4(0), 1e-30F);
  EXPECT_GE(codec::power_2_4(0), 0.0F);
}

TEST(Q8_0, RoundsHalfAwayFromZero) {
  const codec::Q8_0 grid(ggml_codec(CodecKind::kQ8_0));
  const auto expect_rounded = [&](float x) {
    ASSERT_EQ(grid.rtn_code(x, {1, 0}), std::round(x) + 128) << x;
    ASSERT_EQ(grid.rtn_code(-x, {1, 0}), std::round(-x) + 128) << x;
  };
  for (float half = 0.5F; half < 127; half += 1)
    for (const float x : {std::nextafter(half, 0.0F), half, std::nextafter(half, 127.0F)}) expect_rounded(x);
  for (float x = 0; x <= 127; x += 1.0F / 8192) expect_rounded(x);
}

TEST(IntGroup, FollowsTheGrid) {
  const codec::IntGroup asym(int_codec(4, 32, false, DType::kF32));
  codec::Extent extent;
  for (const float x : {-1.0F, 0.25F, 2.0F}) extent.see(x);
  const GroupParams p = asym.fit(extent, 0).params;
  EXPECT_EQ(p.scale, 3.0F / 15.0F);
  EXPECT_EQ(p.offset, 5.0F);
  EXPECT_EQ(asym.code(-1.0F, p), 0.0F);
  EXPECT_EQ(asym.code(2.0F, p), 15.0F);
  EXPECT_EQ(asym.code(100.0F, p), 15.0F);
  const GroupParams sym = codec::IntGroup(int_codec(4, 32, true, DType::kF32)).fit(extent, 0).params;
  EXPECT_EQ(sym.scale, 4.0F / 15.0F);
  EXPECT_EQ(sym.offset, 8.0F);
  const GroupParams shrunk = asym.fit(extent, 50).params;
  EXPECT_EQ(shrunk.scale, 1.5F / 15.0F);
  EXPECT_EQ(shrunk.offset, 5.0F);
}

TEST(IntGroup, GroupWithoutRangeHasUnitRange) {
  codec::Extent zeros;
  zeros.see(0);
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {false, true}) {
      const codec::IntGroup grid(int_codec(bits, 32, symmetric, DType::kF32));
      const GroupParams p = grid.fit(zeros, 0).params;
      EXPECT_EQ(p.scale, static_cast<float>(2.0 / ((1 << bits) - 1)));
      EXPECT_EQ(p.offset, static_cast<float>(1 << (bits - 1)));
      EXPECT_EQ(grid.value(grid.code(0, p), p), 0.0F);
    }
}

TEST(IntGroup, ScalesOutsideTheStoredTypeAreClampedAndCounted) {
  Sample w(3, 32, 1);
  for (std::int64_t c = 0; c < 32; ++c) {
    w.at(0, c) *= 1e-9F;
    w.at(1, c) *= 1e8F;
  }
  const EncodedRows rows = cpu::encode(w.view(), int_codec(4, 32, true));
  EXPECT_EQ(rows.scale_underflows, 1);
  EXPECT_EQ(rows.scale_overflows, 1);
  EXPECT_EQ(rows.params[0].scale, 0x1p-24F);
  EXPECT_EQ(rows.params[1].scale, 65504.0F);
  EXPECT_EQ(cpu::encode(w.view(), int_codec(4, 32, true, DType::kBF16)).scale_underflows, 0);
}

struct GridCase {
  CodecSpec codec;
  const char* name;
};

class EveryGrid : public testing::TestWithParam<GridCase> {};
class GridByRows : public EveryGrid {};  // all but searched ranges, which go by panels only

// The vector code of panels against the scalar definition that device code shares.
TEST_P(EveryGrid, PanelsFollowTheScalarDefinition) {
  const CodecSpec codec = GetParam().codec;
  const std::int64_t n = 96;
  const Sample panel(n, kPartRows, 3);
  cpu::GroupLanes lanes;
  cpu::fit_columns(codec, panel.values.data(), n, lanes);
  codec::with_grid(codec, [&](const auto& grid) {
    for (std::size_t r = 0; r < kPartRows; ++r) {
      const codec::Fitted fitted = codec::fit_group(grid, panel.values.data() + r, n, kPartRows);
      ASSERT_EQ(fitted.params.scale, lanes.scale[r]) << r;
      ASSERT_EQ(fitted.params.offset, lanes.offset[r]) << r;
      ASSERT_EQ(fitted.range, lanes.range[r]) << r;
    }
  });
}

// Blocks packed by vector code against the definition above, also the last ones of a row that are fewer than are packed together.
TEST(Blocks, HoldParametersAndCodes) {
  for (const CodecKind kind : {CodecKind::kQ8_0, CodecKind::kQ4_0, CodecKind::kQ4_1})
    for (const std::int64_t cols : {32, 96, 512, 640}) {
      Sample w(3, cols, 5);
      for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] *= std::exp2(static_cast<float>(i / 32 % 50) - 35.0F);
      const EncodedRows rows = cpu::encode(w.view(), ggml_codec(kind));
      const std::string expected = ggml_blocks(rows, kind);
      std::vector<std::byte> packed(expected.size());
      codec::pack_blocks(kind, rows.codes, rows.params, packed);
      EXPECT_EQ(std::memcmp(packed.data(), expected.data(), expected.size()), 0) << cols;
      EXPECT_THROW(codec::pack_blocks(kind, rows.codes, rows.params, std::span(packed).first(packed.size() - 1)), Error);
    }
}

TEST(Rows, AreLoadedWithAWordOfWhatIsNotFinite) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const Sample w(1, 77, 6);
    std::vector<std::byte> stored(77 * size_of(dtype));
    std::vector<float> loaded(77), expected(77);
    from_f32(dtype, w.values, stored);
    to_f32(dtype, stored, expected);
    EXPECT_TRUE(codec::load_finite(dtype, stored, loaded));
    EXPECT_EQ(loaded, expected);
    for (const float bad : {INFINITY, -INFINITY, NAN})
      for (const std::size_t at : {0U, 40U, 76U}) {
        std::vector<std::byte> damaged = stored;
        from_f32(dtype, std::span(&bad, 1), std::span(damaged).subspan(at * size_of(dtype), size_of(dtype)));
        EXPECT_FALSE(codec::load_finite(dtype, damaged, loaded)) << at;
      }
  }
}

// The vector code of rows against the same, also where signs of zero and equal magnitudes depend on the order.
TEST_P(GridByRows, RowsFollowTheScalarDefinition) {
  const CodecSpec codec = GetParam().codec;
  for (const std::int64_t cols : {32, 96, 160, 330, 640}) {
    if (cols % 32 != 0 && codec.kind != CodecKind::kInt) continue;
    Sample w(40, cols, 4);
    for (std::int64_t r = 0; r < 40; ++r)
      for (std::int64_t c = 0; c < cols; ++c) {
        float& x = w.at(r, c);
        if (r % 4 == 1) x = std::round(x * 4) / 4;  // ties
        if (r % 4 == 2) x = std::abs(x) < 1 ? std::copysign(0.0F, x) : r % 8 == 2 ? std::abs(x) : -std::abs(x);
        if (r % 4 == 3) x = r < 8 ? std::copysign(0.0F, x) : std::copysign(0.75F, x);
      }
    const EncodedRows rows = cpu::encode(w.view(), codec);
    const std::int64_t group = codec.group_of(cols), groups = codec.groups(cols);
    codec::with_grid(codec, [&](const auto& grid) {
      for (std::int64_t r = 0; r < 40; ++r)
        for (std::int64_t g = 0; g < groups; ++g) {
          const std::int64_t n = std::min(group, cols - g * group);
          const float* x = w.view().row(r) + g * group;
          codec::Extent extent;
          for (std::int64_t i = 0; i < n; ++i) extent.see(x[i]);
          const GroupParams expected = grid.fit(extent, 0).params;
          const GroupParams actual = rows.params[static_cast<std::size_t>(r * groups + g)];
          ASSERT_EQ(std::bit_cast<std::uint64_t>(expected), std::bit_cast<std::uint64_t>(actual)) << r << " " << g;
          const codec::Rounder rounder = grid.rounder(extent, expected);
          for (std::int64_t i = 0; i < n; ++i)
            ASSERT_EQ(grid.rtn_code(x[i], rounder), rows.codes[static_cast<std::size_t>(r * cols + g * group + i)])
                << r << " " << i;
        }
    });
  }
}

TEST_P(EveryGrid, ErrorsStayWithinHalfAStepAndRowsAreIndependent) {
  const CodecSpec codec = GetParam().codec;
  const Sample w(131, 96, 5);
  const EncodedRows rows = cpu::encode(w.view(), codec);
  Sample decoded(w.rows, w.cols, 0);
  cpu::decode(rows, codec, plain_groups(codec, w.cols), {decoded.values.data(), w.rows, w.cols, w.cols, MemSpace::kHost});
  double loss = 0;
  for (std::int64_t c = 0; c < w.cols; ++c) {
    const auto at = static_cast<std::size_t>(130 * w.cols + c);
    const GroupParams p = rows.params[static_cast<std::size_t>(130 * codec.groups(w.cols) + c / codec.group_of(w.cols))];
    const double error = static_cast<double>(w.values[at]) - static_cast<double>(decoded.values[at]);
    if (!codec.symmetric && !codec.mse) {
      EXPECT_LE(std::abs(error), 0.51 * static_cast<double>(p.scale));
    }
    loss += error * error;
  }
  EXPECT_NEAR(rows.loss[130], loss, 1e-6 * loss);
  const EncodedRows alone = cpu::encode(w.view().row_range(130, 131), codec);
  EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), rows.codes.end() - w.cols));
  EXPECT_EQ(alone.loss[0], rows.loss[130]);
}

const auto kGridsByRows =
    testing::Values(GridCase{int_codec(4, 32, true), "int4_sym"}, GridCase{int_codec(2, 32, false), "int2_asym"},
                    GridCase{int_codec(3, 40, false), "int3_ragged"}, GridCase{int_codec(8, -1, false, DType::kF32), "int8_row"},
                    GridCase{ggml_codec(CodecKind::kQ4_0), "q4_0"}, GridCase{ggml_codec(CodecKind::kQ4_1), "q4_1"},
                    GridCase{ggml_codec(CodecKind::kQ8_0), "q8_0"});
constexpr auto kNameOfGrid = [](const auto& test) { return std::string(test.param.name); };
INSTANTIATE_TEST_SUITE_P(Grids, EveryGrid, kGridsByRows, kNameOfGrid);
INSTANTIATE_TEST_SUITE_P(Searches, EveryGrid,
                         testing::Values(GridCase{int_codec(4, 32, false, DType::kBF16, true), "int4_search"}), kNameOfGrid);
INSTANTIATE_TEST_SUITE_P(Grids, GridByRows, kGridsByRows, kNameOfGrid);

TEST(Codec, SearchNeverHasALargerErrorThanNone) {
  const Sample w(64, 64, 9);
  const auto error = [&](bool mse) {
    const CodecSpec codec = int_codec(3, 32, true, DType::kF32, mse);
    const EncodedRows rows = cpu::encode(w.view(), codec);
    Sample decoded(64, 64, 0);
    cpu::decode(rows, codec, plain_groups(codec, 64), {decoded.values.data(), 64, 64, 64, MemSpace::kHost});
    std::vector<double> out(128);
    for (std::size_t i = 0; i < decoded.values.size(); ++i)
      out[i / 32] += std::pow(std::abs(static_cast<double>(decoded.values[i]) - static_cast<double>(w.values[i])), 2.4);
    return out;
  };
  const std::vector<double> plain = error(false), searched = error(true);
  double gain = 0;
  for (std::size_t g = 0; g < plain.size(); ++g) {
    EXPECT_LE(searched[g], plain[g] * (1 + 1e-5));
    gain += plain[g] - searched[g];
  }
  EXPECT_GT(gain, 0);
}

TEST(Activations, AreRoundedByBlocksOf32AsLlamaCppDoes) {
  std::vector<float> x(3 * 32);
  x[0] = 63.5F;  // steps of a half
  x[1] = 0.25F;  // in the middle of two: to the even one
  x[2] = 0.75F;
  x[3] = -0.26F;
  x[64] = -1;  // a step that half precision does not hold: the codes are made with the exact one
  x[65] = 0.5F;
  codec::round_activations(x);
  EXPECT_EQ(x[0], 63.5F);
  EXPECT_EQ(x[1], 0);
  EXPECT_EQ(x[2], 1);
  EXPECT_EQ(x[3], -0.5F);
  for (std::size_t i = 32; i < 64; ++i) EXPECT_EQ(x[i], 0);
  const float step = round_to(DType::kF16, 1.0F / 127);
  EXPECT_NE(step, 1.0F / 127);
  EXPECT_EQ(x[64], -127 * step);
  EXPECT_EQ(x[65], 64 * step);
  EXPECT_THROW(codec::round_activations(std::span(x).first(31)), Error);
}

TEST(Codec, WeightsThatAreNotFiniteAreRefused) {
  Sample w(2, 32, 1);
  w.at(1, 7) = NAN;
  EXPECT_THROW(cpu::encode(w.view(), int_codec(4, 32, true)), Error);
}

TEST(Codec, UnknownParametersAreRefused) {
  const Sample w(2, 64, 1);
  CodecSpec wide = ggml_codec(CodecKind::kQ4_0);
  wide.group_size = 64;
  for (const CodecSpec& codec : {int_codec(5, 32, true), int_codec(4, 0, true), int_codec(4, 32, true, DType::kI8), wide})
    EXPECT_THROW(cpu::encode(w.view(), codec), Error);
}

TEST(CodecTable, EveryRowRoundsAndDecodes) {
  const Sample w(8, 64, 3);
  double norm = 0;
  for (const float value : w.values) norm += static_cast<double>(value) * static_cast<double>(value);
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < codecs().size(); ++i) {
    const CodecInfo& row = codecs()[i];
    SCOPED_TRACE(row.name);
    EXPECT_EQ(static_cast<std::size_t>(row.kind), i);
    EXPECT_TRUE(names.insert(row.name).second);
    EXPECT_FALSE(row.about.empty());
    const CodecSpec codec = row.kind == CodecKind::kInt ? int_codec(4, 32, true) : ggml_codec(row.kind);
    EXPECT_TRUE(to_string(codec).starts_with(row.name));
    const EncodedRows rows = cpu::encode(w.view(), codec);
    Sample decoded(w.rows, w.cols, 0);
    cpu::decode(rows, codec, plain_groups(codec, w.cols), {decoded.values.data(), w.rows, w.cols, w.cols, MemSpace::kHost});
    double error = 0;
    for (std::size_t at = 0; at < w.values.size(); ++at)
      error += std::pow(static_cast<double>(w.values[at]) - static_cast<double>(decoded.values[at]), 2);
    EXPECT_GT(error, 0);
    EXPECT_LT(error, 0.03 * norm);
  }
}

TEST(Codec, NamesSayWhatTheyAre) {
  EXPECT_EQ(to_string(int_codec(4, 128, true)), "int4 g128 sym");
  EXPECT_EQ(to_string(int_codec(3, -1, false, DType::kF16, true)), "int3 row asym mse");
  EXPECT_EQ(to_string(ggml_codec(CodecKind::kQ4_1)), "q4_1");
}

}  // namespace
}  // namespace mpiquant
