#include "src/run/quantize.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "io/file.h"
#include "io/manifest.h"
#include "src/base/error.h"
#include "src/comm/local_comm.h"
#include "src/comm/thread_comm.h"
#include "src/run/evaluate.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = MPIQUANT_SOURCE_DIR "/tests/models/tiny-llama";

// A folder of its own for each test, removed afterwards.
class Quantize : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / fmt::format("mpiquant-{}-{}", info->name(), getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Random tokens serve for comparing bytes.
  static Calibration calibration(std::size_t samples, std::size_t length) {
    std::mt19937 random(7);
    Calibration out;
    for (std::size_t s = 0; s < samples; ++s) {
      std::vector<std::int32_t> ids;
      for (std::size_t t = 0; t < length; ++t) ids.push_back(static_cast<std::int32_t>(random() % 2048));
      out.samples.push_back(std::move(ids));
    }
    out.record = {{"samples", samples}};
    return out;
  }

  QuantizeRequest request(const std::string& name) const {
    QuantizeRequest out;
    out.model = kModel;
    out.output = (folder_ / name).string();
    out.work_dir = (folder_ / (name + ".work")).string();
    out.recipe.group_size = 64;
    out.recipe.unit_samples = 2;
    out.calibration = calibration(9, 40);  // an odd number of units, the last one smaller
    return out;
  }

  static void run_rank(Communicator& world, const QuantizeRequest& request) {
    const ModelInput model = open_model(request.model);
    Grid grid = make_grid(world, request.recipe.stages);
    const auto backend = make_cpu_backend(request.threads);
    Job job{world, grid, *backend};
    quantize(job, request, model);
  }

  // SHA256SUMS of every output, by path.
  std::string run(QuantizeRequest request, int ranks) const {
    run_on_threads(ranks, [&](Communicator& world) { run_rank(world, request); });
    std::string sums;
    for (const auto& entry : fs::recursive_directory_iterator(request.output))
      if (entry.path().filename() == kManifestName)
        sums += entry.path().lexically_relative(request.output).string() + "\n" + read_text_file(entry.path());
    verify_manifest(request.recipe.formats.size() == 1 ? request.output : request.output + "/" + request.recipe.formats.front());
    return sums;
  }

  fs::path folder_;
};

TEST_F(Quantize, BytesDoNotDependOnRanksOrThreads) {
  QuantizeRequest base = request("one");
  base.recipe.formats = {"gptq", "dense"};
  const std::string expected = run(base, 1);
  ASSERT_NE(expected.find("model.safetensors"), std::string::npos);
  for (const int ranks : {2, 3, 4, 8}) {
    QuantizeRequest other = base;
    other.output = (folder_ / fmt::format("ranks{}", ranks)).string();
    other.threads = ranks == 2 ? 3 : 1;
    EXPECT_EQ(run(other, ranks), expected) << ranks << " ranks";
  }
}

TEST_F(Quantize, BytesDoNotDependOnTheScheduleWhenTheSameActivationsPropagate) {
  for (const std::string propagate : {"original", "gptq"}) {
    QuantizeRequest base = request("sequential-" + propagate);
    base.recipe.propagate = propagate;
    const std::string expected = run(base, 1);
    for (const auto& [ranks, stages] : {std::pair{2, 2}, std::pair{4, 2}, std::pair{3, 3}, std::pair{6, 6}}) {
      QuantizeRequest other = base;
      other.recipe.schedule = Schedule::kStaged;
      other.recipe.stages = stages;
      other.output = (folder_ / fmt::format("staged-{}-{}-{}", propagate, ranks, stages)).string();
      EXPECT_EQ(run(other, ranks), expected) << propagate << ", " << ranks << " ranks, " << stages << " stages";
    }
  }
}

TEST_F(Quantize, WhatIsPropagatedMatters) {
  QuantizeRequest quantized = request("quantized");
  QuantizeRequest original = request("original");
  original.recipe.propagate = "original";
  QuantizeRequest whole = request("whole");
  whole.recipe.true_sequential = false;
  const std::string a = run(quantized, 2), b = run(original, 2), c = run(whole, 2);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  EXPECT_NE(b, c);
}

TEST_F(Quantize, AFormatHasTheSameBytesBesideAnother) {
  QuantizeRequest alone = request("alone");
  QuantizeRequest both = request("both");
  both.recipe.formats = {"gptq", "dense"};
  run(alone, 2);
  run(both, 2);
  EXPECT_EQ(read_text_file(alone.output + "/" + kManifestName), read_text_file(both.output + "/gptq/" + kManifestName));
}

TEST_F(Quantize, MoreRanksThanUnitsAndParts) {
  QuantizeRequest one = request("one");
  one.calibration = calibration(2, 32);
  QuantizeRequest many = one;
  many.output = (folder_ / "many").string();
  EXPECT_EQ(run(one, 1), run(many, 8));
}

TEST_F(Quantize, RoundToNearestNeedsNoCalibration) {
  QuantizeRequest one = request("one");
  one.recipe.method = "rtn";
  one.calibration = {};
  QuantizeRequest three = one;
  three.output = (folder_ / "three").string();
  EXPECT_EQ(run(one, 1), run(three, 3));
}

TEST_F(Quantize, WorkAndWireAreAsPlanned) {
  QuantizeRequest four = request("four");
  four.calibration = calibration(32, 32);
  run(four, 4);
  const Json report = parse_json(read_text_file(four.work_dir + "/report.json"), "report");
  for (const char* field : {"tokens", "rows_swept", "bytes_written", "bytes_read"}) {
    std::vector<std::int64_t> values;
    for (const Json& rank : report["ranks"]) values.push_back(rank[field].get<std::int64_t>());
    ASSERT_EQ(values.size(), 4U);
    EXPECT_LE(imbalance(values), 1.5) << field;
  }
  for (std::size_t rank = 0; rank < 4; ++rank)
    for (const char* field : {"tokens", "rows_swept", "bytes_written", "hessian_bytes"})
      EXPECT_EQ(report["ranks"][rank][field], report["plan"][rank][field]) << field << " of rank " << rank;
}

TEST_F(Quantize, AnExistingOutputIsKept) {
  QuantizeRequest first = request("out");
  first.recipe.method = "rtn";
  first.calibration = {};
  run(first, 1);
  EXPECT_THROW(run(first, 2), Error);
  first.force = true;
  first.recipe.bits = 8;
  run(first, 2);
  EXPECT_NE(read_text_file(first.output + "/config.json").find("\"bits\": 8"), std::string::npos);
}

TEST_F(Quantize, AFailureLeavesNothingBehind) {
  QuantizeRequest bad = request("out");
  bad.max_fallbacks = 0;
  bad.recipe.rules = {parse_rule("*down_proj:group_size=512")};
  bad.recipe.ragged_dense = true;
  try {
    run(bad, 3);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kGate);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(Quantize, FourBitsStayCloseToTheOriginal) {
  QuantizeRequest dense = request("dense");
  dense.recipe.formats = {"dense"};
  run(dense, 2);
  const ModelInput original = open_model(kModel);
  const ModelInput quantized = open_model(dense.output);
  const Samples windows = calibration(2, 64).samples;
  std::vector<Evaluation> results;
  for (const int ranks : {1, 3}) {
    run_on_threads(ranks, [&](Communicator& world) {
      Grid grid = make_grid(world, 1);
      const auto backend = make_cpu_backend(1);
      Job job{world, grid, *backend};
      const Evaluation result =
          evaluate(job, {quantized.spec, *quantized.source}, EvaluatedModel{original.spec, *original.source}, windows);
      if (world.rank() == 0) results.push_back(result);
    });
  }
  EXPECT_GT(results[0].kl_divergence, 0);
  EXPECT_LT(results[0].kl_divergence, 0.05);
  EXPECT_EQ(results[0].nll, results[1].nll);
  EXPECT_EQ(results[0].kl_divergence, results[1].kl_divergence);
}

}  // namespace
}  // namespace mpiquant
