#include "src/run/quantize.h"

#include <gtest/gtest.h>

#include "src/run/evaluate.h"
#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

using Quantize = QuantizeTest;

TEST_F(Quantize, BytesDoNotDependOnRanksOrThreads) {
  QuantizeRequest base = request("one");
  base.recipe.outputs = parse_outputs("gptq,dense");
  const std::string expected = run(base, 1);
  ASSERT_NE(expected.find("model.safetensors"), std::string::npos);
  for (const int ranks : {2, 3, 4, 8}) {
    QuantizeRequest other = base;
    other.output = (folder_ / fmt::format("ranks{}", ranks)).string();
    other.threads = ranks == 2 ? 3 : 1;
    EXPECT_EQ(run(other, ranks), expected) << ranks << " ranks";
  }
}

TEST_F(Quantize, BytesDoNotDependOnRanksOrThreadsInBf16) {
  QuantizeRequest base = request("one");
  const std::string f32 = run(base, 1);
  base.recipe.compute = ComputeType::kBF16;
  base.force = true;
  try {
    make_cpu_backend(1, base.recipe.compute);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kUsage) throw;  // only a processor that cannot is a reason
    GTEST_SKIP() << error.what();
  }
  const std::string expected = run(base, 1);
  EXPECT_NE(expected, f32);
  for (const int ranks : {2, 3, 4}) {
    QuantizeRequest other = base;
    other.output = (folder_ / fmt::format("ranks{}", ranks)).string();
    other.threads = ranks == 2 ? 3 : 1;
    EXPECT_EQ(run(other, ranks), expected) << ranks << " ranks";
  }
}

// A device's memory makes no difference to the bytes: parts and linears swept together, factors and Hessians that stay there,
// weights that arrive as they are stored, sums that are added meanwhile.
TEST_F(Quantize, BytesDoNotDependOnWhereTheMemoryIs) {
  for (const bool sequential : {true, false}) {
    QuantizeRequest base = request(sequential ? "host" : "host-whole-layers");
    base.recipe.true_sequential = sequential;
    const std::string expected = run(base, 1);
    for (const int ranks : {1, 3}) {
      QuantizeRequest device = base;
      device.output = (folder_ / fmt::format("device-{}-{}", sequential, ranks)).string();
      device.threads = 2;
      run_on_threads(ranks, [&](Communicator& world) { run_device_rank(world, device, std::size_t{1} << 32); });
      EXPECT_EQ(read_text_file(device.output + "/" + std::string(kManifestName)),
                read_text_file(base.output + "/" + std::string(kManifestName)))
          << ranks << " ranks";
    }
    EXPECT_FALSE(expected.empty());
  }
}

TEST_F(Quantize, BytesDoNotDependOnWhereTheStatesAre) {
  constexpr std::size_t kPlenty = std::size_t{1} << 32;
  for (const auto& [sequential, stages] : {std::pair(true, 1), std::pair(false, 1), std::pair(true, 2)}) {
    QuantizeRequest base = request(fmt::format("host-{}-{}", sequential, stages));
    base.recipe.true_sequential = sequential;
    base.recipe.stages = stages;
    if (stages > 1) base.recipe.schedule = Schedule::kStaged;
    run(base, stages);
    QuantizeRequest device = base;
    device.output += "-states-on-host";
    run_on_threads(2, [&](Communicator& world) { run_device_rank(world, device, kPlenty, std::size_t{1} << 40, false); });
    EXPECT_EQ(read_text_file(device.output + "/" + std::string(kManifestName)),
              read_text_file(base.output + "/" + std::string(kManifestName)))
        << stages << " stages";
  }
}

TEST_F(Quantize, WhatDoesNotFitADeviceIsRefusedBeforeWorkStarts) {
  const QuantizeRequest base = request("small");
  std::string message;
  run_on_threads(2, [&](Communicator& world) {
    try {
      run_device_rank(world, base, 1 << 20);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      if (world.rank() == 0) message = error.what();
    }
  });
  EXPECT_NE(message.find("1048576"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(base.output));
  EXPECT_FALSE(fs::exists(base.work_dir));
}

TEST_F(Quantize, ADeviceThatRunsOutOfMemoryEndsTheRunWhichGoesOnLater) {
  const std::string expected = run(request("whole"), 1);
  const QuantizeRequest base = request("short");
  for (const std::size_t free : {std::size_t{700} << 10, std::size_t{1} << 40}) {
    run_on_threads(2, [&](Communicator& world) {
      try {
        run_device_rank(world, base, std::size_t{1} << 32, world.rank() == 1 ? free : std::size_t{1} << 40);
        EXPECT_GT(free, std::size_t{1} << 30);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kEnvironment) << "on rank " << world.rank();
        EXPECT_NE(std::string(error.what()).find("out of memory"), std::string::npos);
        EXPECT_LT(free, std::size_t{1} << 30);
      }
    });
    EXPECT_EQ(fs::exists(base.output), free > std::size_t{1} << 30);
  }
  EXPECT_NE(expected.find(read_text_file(base.output + "/" + std::string(kManifestName))), std::string::npos);
}

// Sums in fp32 are another run: close to the exact ones, and no part of a run with these.
TEST_F(Quantize, SumsInF32AreAnotherRun) {
  QuantizeRequest base = request("exact"), fast = request("fast");
  fast.sums = HessianSums::kF32;
  run(base, 2);
  run(fast, 2);
  const auto error_of = [](const QuantizeRequest& of, const std::string& sums) {
    const Json report = Json::parse(read_text_file(of.work_dir + "/report.json"));
    EXPECT_EQ(report["hessian_sums"], sums);
    double error = 0;
    for (const Json& tensor : report["tensors"]) error += tensor["error"].get<double>();
    return error;
  };
  EXPECT_NEAR(error_of(fast, "f32") / error_of(base, "int64"), 1, 0.02);
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
  both.recipe.outputs = parse_outputs("gptq,dense");
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

// Beside a format that needs whole tensors, rows are not streamed.
TEST_F(Quantize, RoundToNearestByRowsGivesTheBytesOfWholeTensors) {
  for (const std::string format : {"gguf:q8_0", "gguf:q4_0", "gguf:q4_1"}) {
    QuantizeRequest rows = request("rows");
    rows.recipe.method = "rtn";
    rows.calibration = {};
    rows.force = true;
    rows.recipe.outputs = parse_outputs(format);
    rows.recipe.propagate = "original";
    rows.recipe.symmetric = format != "gguf:q4_1";
    rows.recipe.bits = format == "gguf:q8_0" ? 8 : 4;
    QuantizeRequest whole = rows;
    whole.output = (folder_ / "whole").string();
    whole.recipe.outputs = parse_outputs("gptq," + format);
    run(whole, 2);
    std::string folder = format;
    std::replace(folder.begin(), folder.end(), ':', '-');
    const std::string expected = read_text_file(whole.output + "/" + folder + "/" + kManifestName);
    for (const int ranks : {1, 3}) {
      rows.threads = ranks == 1 ? 2 : 1;
      run(rows, ranks);
      EXPECT_EQ(read_text_file(rows.output + "/" + kManifestName), expected) << format << ", " << ranks << " ranks";
    }
  }
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

// Beside the pieces by which ranks compare what they see, and by which the model is identified.
TEST_F(Quantize, EachByteOfTheModelIsReadOnce) {
  const auto expect_once = [&](const std::string& name, int ranks, auto&& change) {
    QuantizeRequest mine = request(name);
    change(mine);
    run(mine, ranks);
    const Json report = parse_json(read_text_file(mine.work_dir + "/report.json"), "report");
    std::int64_t read = 0, planned = 0;
    for (const Json& rank : report["ranks"]) read += rank["bytes_read"].get<std::int64_t>();
    for (const Json& rank : report["plan"]) planned += rank["bytes_read"].get<std::int64_t>();
    std::int64_t weights = 0, vectors = 0, pieces = 0;
    const ModelInput model = open_model(mine.model);
    for (const TensorEntry& entry : model.source->entries()) {
      weights += entry.bytes;
      vectors += entry.shape.size() == 1 ? entry.bytes : 0;
      const std::int64_t piece = std::min<std::int64_t>(entry.bytes, 4096);
      pieces += ranks * piece + std::min(entry.bytes, 3 * piece);
    }
    // Norms are multiplied into rotated weights wherever these are made.
    const std::int64_t norms = has_transforms(mine.recipe) ? 2 * ranks * vectors : 0;
    EXPECT_GE(read, weights + pieces - (norms > 0 ? vectors : 0)) << name;
    EXPECT_LE(read, weights + pieces + norms) << name;
    // What is in memory with its layer is no read of its own.
    EXPECT_LE(planned, weights) << name;
    EXPECT_GE(planned, weights - vectors) << name;
  };
  const auto nothing = [](QuantizeRequest&) {};
  expect_once("one", 1, nothing);
  expect_once("four", 4, nothing);
  expect_once("tied", 3, [](QuantizeRequest& r) { r.model = MPIQUANT_SOURCE_DIR "/tests/models/tiny-llama3"; });
  expect_once("staged", 4, [](QuantizeRequest& r) { r.recipe.schedule = Schedule::kStaged, r.recipe.stages = 2; });
  expect_once("streamed", 4, [](QuantizeRequest& r) {
    r.recipe.schedule = Schedule::kStaged, r.recipe.stages = 2;
    r.recipe.propagate = "original";
  });
  expect_once("dense linears in several outputs", 2, [](QuantizeRequest& r) {
    r.recipe.outputs = parse_outputs("gptq,gguf:q4_0,dense");
    r.recipe.rules = {parse_rule("*.layers.1.*:dense"), parse_rule("*.o_proj:dense")};
  });
  expect_once("a quantized head", 2,
              [](QuantizeRequest& r) { r.recipe.outputs = parse_outputs("gptq[lm_head=true],dense:gptq"); });
  expect_once("tied and quantized twice", 2, [](QuantizeRequest& r) {
    r.model = MPIQUANT_SOURCE_DIR "/tests/models/tiny-llama3";
    r.recipe.group_size = 32;
    r.recipe.outputs = parse_outputs("gptq,gguf:q4_0,gptq[bits=8,name=eight]");
  });
  expect_once("rotated", 3, [](QuantizeRequest& r) { r.recipe.transforms = {"rotate"}; });
  expect_once("with a rotated form", 3, [](QuantizeRequest& r) {
    r.recipe.outputs = parse_outputs("gptq,gptq[transforms=rotate,name=turned],dense[transforms=rotate]");
    r.recipe.rules = {parse_rule("*.layers.1.*:dense")};
  });
  expect_once("by rows", 3, [](QuantizeRequest& r) {
    r.recipe.method = "rtn";
    r.recipe.outputs = parse_outputs("gguf:q4_0,gguf:q8_0");
    r.calibration = {};
  });
  expect_once("by rows beside dense outputs", 3, [](QuantizeRequest& r) {
    r.recipe.method = "rtn";
    r.recipe.outputs = parse_outputs("gguf:q4_0[lm_head=true,rule=[*.up_proj:dense]],gguf:f16,dense,gguf:q8_0");
    r.calibration = {};
  });
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
  bad.gates.max_fallbacks = 0;
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
  dense.recipe.outputs = parse_outputs("dense");
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
