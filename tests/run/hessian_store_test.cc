#include "src/run/hessian_store.h"

#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

class KeptHessians : public QuantizeTest {
 protected:
  QuantizeRequest keeping(const std::string& name, const std::string& propagate) const {
    QuantizeRequest out = request(name);
    out.recipe.propagate = propagate;
    out.keep_hessians = true;
    return out;
  }
  QuantizeRequest from(const QuantizeRequest& kept, const std::string& name) const {
    QuantizeRequest out = request(name);
    out.hessians = kept.work_dir + "/hessians";
    out.calibration = {};
    return out;
  }
  void expect_refused(const QuantizeRequest& request, const std::string& word) const {
    try {
      run(request, 2);
      ADD_FAILURE() << "no error for " << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
    EXPECT_FALSE(fs::exists(request.output));
  }
};

TEST_F(KeptHessians, OfOriginalActivationsServeEveryRecipe) {
  const QuantizeRequest kept = keeping("kept", "original");
  run(kept, 3);
  QuantizeRequest other = request("direct");
  other.recipe.propagate = "original";
  other.recipe.bits = 3;
  other.recipe.group_size = 32;
  other.recipe.order = ActOrder::kDynamic;
  other.recipe.outputs = parse_outputs("gptq,dense");
  const std::string expected = run(other, 1);
  QuantizeRequest again = from(kept, "again");
  again.recipe = other.recipe;
  EXPECT_EQ(run(again, 2), expected);
  const Json report = parse_json(read_text_file(again.work_dir + "/report.json"), "report");
  EXPECT_EQ(report["ranks"][0]["tokens"], 0);
}

TEST_F(KeptHessians, OfQuantizedActivationsServeTheSameRecipeOnly) {
  const QuantizeRequest kept = keeping("kept", "gptq");
  const std::string expected = run(kept, 2);
  QuantizeRequest same = from(kept, "same");
  same.recipe = kept.recipe;
  EXPECT_EQ(run(same, 1), expected);
  QuantizeRequest finer = from(kept, "finer");
  finer.recipe = kept.recipe;
  finer.recipe.group_size = 32;
  expect_refused(finer, "group_size");
  // Other outputs beside the one whose weights they come from, not in its place.
  QuantizeRequest more = from(kept, "more");
  more.recipe = kept.recipe;
  more.recipe.outputs = parse_outputs("gptq,gptq[bits=3,group_size=32,name=small],gguf:q4_0");
  QuantizeRequest direct = more;
  direct.hessians.clear();
  direct.calibration = kept.calibration;
  direct.output = (folder_ / "direct").string();
  EXPECT_EQ(run(more, 2), run(direct, 1));
  EXPECT_EQ(read_text_file(more.output + "/gptq/" + kManifestName), read_text_file(kept.output + "/" + kManifestName));
  QuantizeRequest replaced = from(kept, "replaced");
  replaced.recipe = kept.recipe;
  replaced.recipe.outputs = parse_outputs("gptq[bits=3]");
  expect_refused(replaced, "bits");
}

TEST_F(KeptHessians, OfFilesWithOtherTimesAreToldOf) {
  const fs::path model = folder_ / "model";
  fs::copy(kModel, model);
  QuantizeRequest kept = keeping("kept", "original");
  kept.model = model.string();
  run(kept, 2);
  const auto told = [&](const std::string& name) {
    QuantizeRequest again = from(kept, name);
    again.model = kept.model;
    testing::internal::CaptureStdout();  // of the log, as it is in tests
    run(again, 2);
    return testing::internal::GetCapturedStdout().find("weight files have other") != std::string::npos;
  };
  EXPECT_FALSE(told("same"));
  const fs::path shard = model / "model-00001-of-00002.safetensors";
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(1));
  EXPECT_TRUE(told("touched"));
}

TEST_F(KeptHessians, AreRefusedWhereTheyDoNotBelong) {
  const QuantizeRequest kept = keeping("kept", "original");
  run(kept, 1);
  QuantizeRequest other_model = from(kept, "other");
  other_model.model = MPIQUANT_SOURCE_DIR "/tests/models/tiny-llama3";
  expect_refused(other_model, "model");
  QuantizeRequest rtn = from(kept, "rtn");
  rtn.recipe.method = "rtn";
  expect_refused(rtn, "rtn");
  QuantizeRequest more = keeping("more", "original");
  more.work_dir = kept.work_dir;
  more.calibration = calibration(4, 40);
  expect_refused(more, "another run");
  fs::remove(kept.work_dir + "/hessians/layer-00002-block-1.h5");
  EXPECT_THROW(run(from(kept, "missing"), 2), Error);
}

TEST_F(KeptHessians, AreWholeAfterAResume) {
  QuantizeRequest kept = keeping("kept", "original");
  kept.commit.stop_wanted = [] { return true; };
  for (int start = 0; start < 3; ++start) EXPECT_THROW(run(kept, 1), Error);
  kept.commit = {};
  run(kept, 2);
  QuantizeRequest other = request("direct");
  other.recipe.propagate = "original";
  other.recipe.bits = 8;
  const std::string expected = run(other, 1);
  QuantizeRequest again = from(kept, "again");
  again.recipe.bits = 8;
  EXPECT_EQ(run(again, 2), expected);
}

}  // namespace
}  // namespace mpiquant
