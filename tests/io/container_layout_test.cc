#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "io/shards.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;

CodecSpec codec_for(const std::string& container, int bits, std::int64_t group) {
  CodecSpec codec{.kind = CodecKind::kInt, .bits = bits, .group_size = group};
  if (container == "gguf")
    codec = {.kind = bits == 8 ? CodecKind::kQ8_0 : CodecKind::kQ4_0, .bits = bits == 8 ? 8 : 4, .group_size = 32};
  return codec;
}

// Tensors follow each other without overlap, aligned, up to the end of the file, and shards keep modules together.
TEST(Layout, PropertiesOverManyShapes) {
  for (const Container* container : containers()) {
    if (container->name() == "gguf") continue;  // needs a tokenizer: container_gguf_test.cc
    for (std::int64_t hidden : {64, 96, 160})
      for (std::int64_t layers : {1, 3})
        for (int bits : {4, 8})
          for (std::int64_t shard : {std::int64_t{20'000}, std::int64_t{100'000}, std::int64_t{1} << 40}) {
            const ModelSpec model = make_model({.hidden = hidden,
                                                .intermediate = 2 * hidden,
                                                .layers = layers,
                                                .heads = 2,
                                                .kv_heads = 1,
                                                .head_dim = 32,
                                                .bias = true});
            OutputSpec output = make_output(std::string(container->name()), model, codec_for("", bits, 32));
            output.max_shard_bytes = shard;
            container->check(output, model);
            const auto files = container->layout(output, facts_of(model));
            std::set<std::string> names;
            std::map<std::string, std::string> file_of_module;
            for (const FilePlan& file : files) {
              std::int64_t end = static_cast<std::int64_t>(file.header.size());
              EXPECT_EQ(end % 8, 0);
              for (const TensorPlan& tensor : file.tensors) {
                EXPECT_EQ(tensor.offset, end) << tensor.name;
                EXPECT_GT(tensor.bytes, 0);
                end += tensor.bytes;
                EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
                const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
                EXPECT_EQ(file_of_module.emplace(module, file.path).first->second, file.path) << module;
              }
              EXPECT_EQ(end, file.bytes);
              std::set<std::string> modules;
              for (const TensorPlan& tensor : file.tensors) modules.insert(tensor.name.substr(0, tensor.name.rfind('.')));
              if (modules.size() > 1) {
                EXPECT_LE(file.bytes - static_cast<std::int64_t>(file.header.size()), shard);
              }
            }
            for (std::size_t i = 0; files.size() > 1 && i < files.size(); ++i)
              EXPECT_EQ(files[i].path, fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size()));
            EXPECT_EQ(shard_index(files).has_value(), files.size() > 1);
            for (const LinearChoice& choice : output.linears) EXPECT_TRUE(file_of_module.contains(choice.linear.module));
            for (const DenseChoice& choice : output.dense) EXPECT_TRUE(names.contains(choice.name)) << choice.name;
          }
  }
}

TEST(Layout, IndexNamesEveryTensor) {
  const ModelSpec model = make_model({});
  OutputSpec output = make_output("dense", model, codec_for("", 4, 32));
  output.max_shard_bytes = 30'000;
  const auto files = find_container("dense").layout(output, facts_of(model));
  ASSERT_GT(files.size(), 2U);
  const Json index = parse_json(shard_index(files)->content, "index");
  std::int64_t total = 0;
  std::size_t count = 0;
  for (const FilePlan& file : files)
    for (const TensorPlan& tensor : file.tensors) {
      EXPECT_EQ(index["weight_map"][tensor.name], file.path);
      total += tensor.bytes;
      ++count;
    }
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_EQ(index["weight_map"].size(), count);
}

// Slabs of a float tensor put together are the tensor as written at once.
TEST(Layout, DenseRowsInPieces) {
  const ModelSpec model = make_model({.bias = true});
  for (const Container* container : containers()) {
    if (container->name() == "gguf") continue;
    const OutputSpec output = make_output(std::string(container->name()), model, codec_for("", 4, 32));
    for (const FilePlan& file : container->layout(output, facts_of(model)))
      for (const TensorPlan& tensor : file.tensors) {
        if (!tensor.piece.empty()) continue;
        const std::int64_t row_bytes = container->dense_row_bytes(output, model, tensor);
        const std::int64_t rows = tensor.bytes / row_bytes;
        ASSERT_EQ(rows * row_bytes, tensor.bytes);
        const RowReader read = [](std::int64_t begin, std::int64_t end, std::span<float> out) {
          const auto width = static_cast<std::int64_t>(out.size()) / (end - begin);
          for (std::int64_t i = 0; i < static_cast<std::int64_t>(out.size()); ++i)
            out[static_cast<std::size_t>(i)] = static_cast<float>((begin * width + i) % 251);
        };
        std::vector<std::byte> whole(static_cast<std::size_t>(tensor.bytes));
        std::vector<std::byte> pieces(whole.size());
        container->write_dense(output, model, tensor, 0, rows, read, whole);
        for (std::int64_t row = 0; row < rows; row += 5) {
          const std::int64_t end = std::min(rows, row + 5);
          container->write_dense(output, model, tensor, row, end, read,
                                 std::span(pieces).subspan(static_cast<std::size_t>(row * row_bytes),
                                                           static_cast<std::size_t>((end - row) * row_bytes)));
        }
        EXPECT_EQ(whole, pieces) << tensor.name;
      }
  }
}

TEST(DenseContainer, DecodesRaggedGroupsInActivationOrder) {
  const ModelSpec model = make_model({.intermediate = 172});
  const CodecSpec codec{.kind = CodecKind::kInt, .bits = 4, .group_size = 32, .symmetric = false};
  OutputSpec output = make_output("dense", model, codec);
  output.dense_dtype = DType::kF32;
  const Container& dense = find_container("dense");
  dense.check(output, model);
  std::mt19937 random(3);
  const LinearSpec down = model.layers[0].blocks[3].linears[0];
  EncodedLinear linear = random_linear(down, codec, random);
  std::ranges::shuffle(linear.g_idx, random);
  std::vector<float> values(static_cast<std::size_t>(down.rows * down.cols));
  const TensorPlan plan{down.weight(), down.module, "weight", 0, static_cast<std::int64_t>(values.size() * 4)};
  dense.pack(output, model, plan, linear, std::as_writable_bytes(std::span(values)));
  const std::int64_t groups = codec.groups(down.cols);
  ASSERT_EQ(groups, 6);
  for (std::int64_t n = 0; n < down.rows; ++n)
    for (std::int64_t k = 0; k < down.cols; ++k) {
      const auto at = static_cast<std::size_t>(n * down.cols + k);
      const GroupParams& p = linear.params[static_cast<std::size_t>(n * groups + linear.g_idx[static_cast<std::size_t>(k)])];
      ASSERT_EQ(values[at], p.scale * (static_cast<float>(linear.codes[at]) - p.offset));
    }
}

TEST(Containers, TableIsFoundByName) {
  for (const Container* container : containers()) EXPECT_EQ(&find_container(container->name()), container);
  try {
    find_container("zip");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("gptq"));
  }
}

}  // namespace
}  // namespace mpiquant
