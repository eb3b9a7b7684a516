#include "src/run/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <limits>

#include "io/manifest.h"
#include "src/comm/local_comm.h"
#include "src/comm/thread_comm.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

constexpr const char* kShard = "model-00002-of-00002.safetensors";

class Verify : public testing::Test {
 protected:
  Verify() {
    fs::copy(bundled_model(), copy_, fs::copy_options::recursive);
    sum();
  }
  // Makes the sums anew, so that damage is found in the content.
  void sum() const {
    fs::remove(copy_ + "/" + kManifestName);
    write_manifest(copy_, sum_directory(copy_));
  }

  // The same on 1, 2 and 3 ranks, else the test fails.
  Verification run(const VerifyRequest& request) const {
    std::vector<Verification> results;
    for (const int ranks : {1, 2, 3})
      run_on_threads(ranks, [&](Communicator& world) {
        Verification result = verify(world, request);
        if (world.rank() == world.size() - 1) results.push_back(std::move(result));
      });
    for (const Verification& result : results) EXPECT_EQ(to_json(result).dump(), to_json(results.front()).dump());
    return results.front();
  }
  Verification run() const { return run({copy_, std::nullopt, 2}); }

  // Writes bytes of a tensor of the second shard.
  void overwrite(const std::string& tensor, std::int64_t byte, std::span<const std::byte> bytes) const {
    File file = File::open_write(copy_ + "/" + kShard);
    const SafetensorsHeader header = parse_safetensors_header(file);
    const auto found = std::ranges::find(header.entries, tensor, &SafetensorsEntry::name);
    ASSERT_NE(found, header.entries.end());
    file.write_at(found->offset + byte, bytes);
    file.close();
  }
  void edit(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = read_text_file(copy_ + "/" + name);
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    write_text_file(copy_ + "/" + name, text);
  }

  TemporaryFolder folder_;
  const std::string copy_ = folder_ / "model";
};

TEST_F(Verify, AWholeModel) {
  const Verification result = run();
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_TRUE(result.has_sums);
  EXPECT_EQ(result.values, 5770496);
  EXPECT_THAT(to_text(result), HasSubstr("all is well"));
}

TEST_F(Verify, ContentAgainstTheSums) {
  edit("generation_config.json", "{", "{ ");
  write_text_file(copy_ + "/new.txt", "x");
  fs::remove(copy_ + "/tokenizer_config.json");
  EXPECT_THAT(run().problems, ElementsAre(HasSubstr("generation_config.json: content differs"),
                                          HasSubstr("new.txt: not in SHA256SUMS"), HasSubstr("tokenizer_config.json: missing")));
  write_text_file(copy_ + "/" + kManifestName, "0123  ../outside\n");
  EXPECT_THAT(run().problems, ElementsAre(HasSubstr("SHA256SUMS: line 1")));
}

TEST_F(Verify, EveryDamagedHeader) {
  for (const char* shard : {"model-00001-of-00002.safetensors", kShard}) fs::resize_file(copy_ + "/" + shard, 5000);
  const Verification result = run();
  EXPECT_EQ(result.problems.size(), 4U) << to_text(result);  // two sums, two headers
  EXPECT_THAT(to_text(result), AllOf(HasSubstr("00001-of-00002.safetensors: content differs"), HasSubstr("is truncated")));
}

TEST_F(Verify, EveryNumberThatIsNone) {
  const std::uint16_t nan = 0x7fc0;
  const std::uint16_t infinity = 0xff80;
  const auto bytes = [](const std::uint16_t& value) { return std::as_bytes(std::span(&value, 1)); };
  overwrite("model.layers.5.mlp.down_proj.weight", 2 * (3 * 768 + 5), bytes(nan));
  overwrite("model.layers.5.mlp.down_proj.weight", 2 * (200 * 768), bytes(infinity));
  overwrite("model.norm.weight", 2 * 7, bytes(infinity));
  sum();
  EXPECT_THAT(run().problems, ElementsAre("model.layers.5.mlp.down_proj.weight holds nan at row 3, column 5",
                                          "model.norm.weight holds -inf at row 7, column 0"));
}

TEST_F(Verify, EveryTensorThatDoesNotFitTheConfiguration) {
  edit("config.json", "\"intermediate_size\": 768", "\"intermediate_size\": 512");
  sum();
  const Verification result = run();
  EXPECT_EQ(result.problems.size(), 18U);
  EXPECT_THAT(result.problems.front(), HasSubstr("config.json calls for [512, 256]"));
}

TEST_F(Verify, DistanceFromTheOriginal) {
  EXPECT_EQ(run({copy_, bundled_model(), 1}).worst()->relative_error, 0);
  const std::vector<std::byte> zeros(512);
  overwrite("model.norm.weight", 0, zeros);
  sum();
  const Verification result = run({copy_, bundled_model(), 1});
  EXPECT_TRUE(result.compared);
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.worst()->name, "model.norm.weight");
  EXPECT_DOUBLE_EQ(result.worst()->relative_error, 1);
  EXPECT_EQ(to_json(result)["relative_errors"]["lm_head.weight"], 0);
}

TEST_F(Verify, AnotherModelIsRefused) {
  const Error sizes = error_of([&] { run({copy_, source_path("tests/models/tiny-llama3"), 1}); });
  EXPECT_EQ(sizes.code(), ExitCode::kInput);
  EXPECT_THAT(sizes.what(), HasSubstr("has other sizes"));
  const Error family = error_of([&] { run({copy_, source_path("tests/models/tiny-mistral"), 1}); });
  EXPECT_THAT(family.what(), HasSubstr("is a MistralForCausalLM, the output a LlamaForCausalLM"));
}

TEST_F(Verify, WhatIsNotThereOrNotReadHere) {
  EXPECT_EQ(error_of([&] { run({folder_ / "nothing", std::nullopt, 1}); }).code(), ExitCode::kInput);
  edit("config.json", "{", R"({"quantization_config": {"quant_method": "exl9"},)");
  fs::remove(copy_ + "/" + kManifestName);
  const Error error = error_of([&] { run(); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("exl9"));
}

}  // namespace
}  // namespace mpiquant
