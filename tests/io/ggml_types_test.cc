#include "io/ggml_types.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace mpiquant {
namespace {

TEST(GgmlTypes, TheTableIsConsistent) {
  std::set<std::int32_t> ids;
  for (const GgmlTypeInfo& row : ggml_types()) {
    EXPECT_TRUE(ids.insert(static_cast<std::int32_t>(row.type)).second) << row.name;
    EXPECT_EQ(find_ggml_type(static_cast<std::int32_t>(row.type)), &row);
    EXPECT_EQ(find_ggml_type(row.name), &row);
    EXPECT_EQ(&info(row.type), &row);
    const double bits = 8.0 * static_cast<double>(row.block_bytes) / static_cast<double>(row.block);
    EXPECT_TRUE(bits >= 1 && bits <= 64) << row.name;
  }
  EXPECT_EQ(ids.size(), 35U);
  for (const std::int32_t removed : {4, 5, 31, 32, 33, 36, 37, 38, 43, -1})
    EXPECT_EQ(find_ggml_type(removed), nullptr) << removed;
  EXPECT_EQ(find_ggml_type("q4_k")->type, GgmlType::kQ4_K);
  EXPECT_EQ(find_ggml_type("Q4_K_M"), nullptr);
  EXPECT_EQ(find_ggml_type(""), nullptr);
}

TEST(GgmlTypes, Bytes) {
  using Dims = std::vector<std::int64_t>;
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(ggml_bytes(GgmlType::kF32, Dims{}), 4);
  EXPECT_EQ(ggml_bytes(GgmlType::kF16, Dims{3, 5}), 30);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ4_0, Dims{64, 3, 2}), 2 * 18 * 6);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ6_K, Dims{512, 2}), 840);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ4_0, Dims{0, 7}), 0);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ4_0, Dims{33}), std::nullopt);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ4_0, Dims{}), std::nullopt);
  EXPECT_EQ(ggml_bytes(GgmlType::kF32, Dims{-1, -1}), std::nullopt);
  EXPECT_EQ(ggml_bytes(GgmlType::kF32, Dims{1, -1}), std::nullopt);
  EXPECT_EQ(ggml_bytes(GgmlType::kI8, Dims{kMax}), kMax);
  EXPECT_EQ(ggml_bytes(GgmlType::kF16, Dims{kMax}), std::nullopt);
  EXPECT_EQ(ggml_bytes(GgmlType::kQ1_0, Dims{std::int64_t{1} << 40, std::int64_t{1} << 24}), std::nullopt);
}

}  // namespace
}  // namespace mpiquant
