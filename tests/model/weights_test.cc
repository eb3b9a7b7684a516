#include "src/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "src/base/error.h"
#include "tests/io/fixtures.h"
#include "tests/model/memory_source.h"

namespace mpiquant {
namespace {

using testing::HasSubstr;

class Weights : public testing::Test {
 protected:
  Weights() : backend_(make_cpu_backend(2)) {
    spec_.hidden = 8;
    spec_.vocab = 10;
    spec_.embedding = "embedding";
    LayerSpec layer;
    layer.index = 0;
    layer.input_norm = "in";
    layer.post_attention_norm = "post";
    layer.blocks = {{"down", {{"down", Role::kDown, 8, 12, true}}}};
    spec_.layers = {layer};
    count_up("embedding", {10, 8});
    count_up("in", {8});
    count_up("post", {8});
    count_up("down.weight", {8, 12});
    count_up("down.bias", {8});
  }
  void count_up(const std::string& name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
    std::iota(values.begin(), values.end(), static_cast<float>(name.size()));
    source_.add(name, shape, std::move(values));
  }

  MemorySource source_;
  ModelSpec spec_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(Weights, ALayerLoadsWholeAndByRanges) {
  const LayerWeights whole = load_layer(source_, spec_, 0, *backend_);
  LayerWeights parts = allocate_layer(spec_.layers[0], 8, *backend_);
  backend_->for_each(3, [&](Stream& stream, std::int64_t i) {
    load_linear_rows(stream, source_, spec_.layers[0].blocks[0].linears[0], i * 3, std::min<std::int64_t>(8, i * 3 + 3),
                     *backend_, parts.blocks[0][0]);
  });
  const std::vector<float>& stored = source_.values("down.weight");
  const Matrix a = whole.blocks[0][0].matrix(), b = parts.blocks[0][0].matrix();
  for (std::size_t i = 0; i < stored.size(); ++i) {
    EXPECT_EQ(a.data[i], stored[i]);
    EXPECT_EQ(b.data[i], stored[i]);
  }
  EXPECT_EQ(whole.blocks[0][0].bias.data()[7], source_.values("down.bias")[7]);
  EXPECT_EQ(whole.input_norm.data()[3], source_.values("in")[3]);
  EXPECT_EQ(whole.post_attention_norm.data()[3], source_.values("post")[3]);
}

TEST_F(Weights, NotANumberNamesTensorAndPlace) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    source_.values("down.weight")[5 * 12 + 7] = bad;
    const Error error = error_of([&] { load_layer(source_, spec_, 0, *backend_); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("down.weight"), HasSubstr("row 5"), HasSubstr("column 7")));
  }
}

TEST_F(Weights, EmbeddingTakesRowsByIdAndReadsOnlyThose) {
  const std::vector<std::int32_t> ids = {9, 0, 9};
  std::vector<float> out(3 * 8);
  embed(source_, spec_, ids, out);
  const std::vector<float>& stored = source_.values("embedding");
  for (std::size_t c = 0; c < 8; ++c) {
    EXPECT_EQ(out[c], stored[72 + c]);
    EXPECT_EQ(out[8 + c], stored[c]);
    EXPECT_EQ(out[16 + c], stored[72 + c]);
  }
  EXPECT_EQ(source_.bytes_read(), 3 * 8 * 4);
  for (const std::int32_t wrong : {-1, 10}) {
    const Error error = error_of([&] { embed(source_, spec_, std::vector<std::int32_t>{wrong}, std::span(out).first(8)); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(wrong)));
  }
}

}  // namespace
}  // namespace mpiquant
