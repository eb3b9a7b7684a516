#include <gtest/gtest.h>

#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

class Gptaq : public QuantizeTest {
 protected:
  QuantizeRequest corrected(const std::string& name, double alpha = 0.5) const {
    QuantizeRequest out = request(name);
    out.recipe.gptaq_alpha = alpha;
    return out;
  }
  std::string refusal(const QuantizeRequest& of) const {
    try {
      run(of, 2);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
      EXPECT_FALSE(fs::exists(of.output));
      return error.what();
    }
    ADD_FAILURE() << "was not refused";
    return "";
  }
};

TEST_F(Gptaq, BytesDoNotDependOnRanksThreadsOrSchedule) {
  struct Ranks {
    int ranks, stages, threads;
  };
  for (const bool true_sequential : {true, false}) {
    QuantizeRequest base = corrected(fmt::format("one-{}", true_sequential));
    base.recipe.true_sequential = true_sequential;
    base.recipe.propagate = "gptq";
    const std::string expected = run(base, 1);
    const std::vector<Ranks> all = {{3, 1, 1}, {4, 2, 1}, {2, 1, 3}};
    for (const auto& [ranks, stages, threads] : std::span(all).first(true_sequential ? 3 : 1)) {
      QuantizeRequest other = base;
      other.output = fmt::format("{}-{}-{}", base.output, ranks, stages);
      other.work_dir = other.output + ".work";
      other.threads = threads;
      other.recipe.stages = stages;
      if (stages > 1) other.recipe.schedule = Schedule::kStaged;
      EXPECT_EQ(run(other, ranks), expected) << ranks << " ranks, " << stages << " stages";
    }
  }
}

TEST_F(Gptaq, AlphaDecides) {
  const std::string none = run(request("none"), 1), half = run(corrected("half"), 1), all = run(corrected("all", 1), 1);
  EXPECT_EQ(run(corrected("zero", 0), 1), none);
  EXPECT_NE(half, none);
  EXPECT_NE(all, half);
}

// Linears that stay dense, the head, and an output whose weights nothing is propagated of.
TEST_F(Gptaq, GoesWithRulesAndSeveralOutputs) {
  QuantizeRequest base = corrected("one");
  base.recipe.outputs = parse_outputs("gptq[lm_head=true,rule=*.o_proj:dense],dense[bits=3,name=small]");
  base.recipe.rules = {parse_rule("*.layers.2.*:dense")};
  const std::string expected = run(base, 1);
  QuantizeRequest other = base;
  other.output += "-three";
  other.work_dir += "-three";
  EXPECT_EQ(run(other, 3), expected);
}

TEST_F(Gptaq, WireIsAsPlanned) {
  QuantizeRequest four = corrected("four");
  run(four, 4);
  const Json report = parse_json(read_text_file(four.work_dir + "/report.json"), "report");
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(report["ranks"][rank]["hessian_bytes"], report["plan"][rank]["hessian_bytes"]) << rank;
    EXPECT_GT(report["plan"][rank]["memory"], 0);
  }
}

TEST_F(Gptaq, WhatItCannotGoWithIsRefused) {
  QuantizeRequest original = corrected("original");
  original.recipe.propagate = "original";
  EXPECT_NE(refusal(original).find("--propagate original"), std::string::npos);
  QuantizeRequest rtn = corrected("rtn");
  rtn.recipe.method = "rtn";
  rtn.calibration = {};
  EXPECT_NE(refusal(rtn).find("does nothing with the method rtn"), std::string::npos);
  QuantizeRequest kept = corrected("kept");
  kept.keep_hessians = true;
  EXPECT_NE(refusal(kept).find("kept Hessians"), std::string::npos);
  EXPECT_NE(refusal(corrected("much", 1.5)).find("between 0 and 1"), std::string::npos);
  const QuantizeRequest device = corrected("device");
  run_on_threads(2, [&](Communicator& world) {
    try {
      run_device_rank(world, device, std::size_t{1} << 32);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_NE(std::string(error.what()).find("on a GPU"), std::string::npos) << error.what();
    }
  });
}

}  // namespace
}  // namespace mpiquant
