#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

constexpr double kSnapshotAlways = 1e9;
constexpr double kSnapshotNever = 0;

class Restarted : public QuantizeTest {
 protected:
  // Runs until `layers` layers are done in this start, on rank 0's wish, or to the end. True if it came to the end.
  bool run_some(QuantizeRequest request, int ranks, int layers) const {
    std::atomic<int> done = 0;
    bool ended = false;
    try {
      run_on_threads(ranks, [&](Communicator& world) {
        QuantizeRequest mine = request;
        if (world.rank() == 0) mine.commit.stop_wanted = [&] { return ++done >= layers; };
        run_rank(world, mine);
      });
      ended = true;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kStopped) << error.what();
      EXPECT_FALSE(fs::exists(request.output));
    }
    return ended;
  }
  // Fails at the commit of layer 4, with no hidden states kept, and goes on later on three ranks.
  void run_with_failure(QuantizeRequest request) const {
    request.commit.overhead = kSnapshotNever;
    int done = 0;
    request.commit.stop_wanted = [&]() -> bool {
      check(++done < 4, ExitCode::kEnvironment, "a failure");
      return false;
    };
    EXPECT_THROW(run(request, 1), Error);
    request.commit = {};
    run(request, 3);
  }
  static Json report(const QuantizeRequest& request) {
    return parse_json(read_text_file(request.work_dir + "/report.json"), "report");
  }
  static std::string sums(const QuantizeRequest& request) { return read_text_file(request.output + "/" + kManifestName); }
  static void expect_clean(const QuantizeRequest& request) {
    EXPECT_FALSE(fs::exists(request.work_dir + "/checkpoint"));
    for (const auto& entry : fs::directory_iterator(fs::path(request.output).parent_path()))
      EXPECT_EQ(entry.path().filename().string().find(".partial-"), std::string::npos) << entry.path();
  }
};

TEST_F(Restarted, GivesTheSameBytesAfterEveryLayerOnOtherRanks) {
  for (const bool true_sequential : {true, false}) {
    for (const double overhead : {kSnapshotAlways, kSnapshotNever}) {
      QuantizeRequest whole = request(fmt::format("whole-{}-{}", true_sequential, overhead > 0));
      whole.recipe.true_sequential = true_sequential;
      whole.recipe.order = ActOrder::kDynamic;
      run(whole, 1);
      QuantizeRequest pieces = whole;
      pieces.output = whole.output + "-pieces";
      pieces.work_dir = pieces.output + ".work";
      pieces.commit.overhead = overhead;
      const std::array ranks{1, 3, 2, 4};
      std::size_t starts = 0;
      while (!run_some(pieces, ranks[starts % ranks.size()], 1)) ASSERT_LT(++starts, 10U);
      EXPECT_GE(starts, 5U);  // the model has 6 layers
      EXPECT_EQ(sums(pieces), sums(whole));
      expect_clean(pieces);
      EXPECT_EQ(report(pieces)["ranks"][0]["layers_skipped"], 6);
    }
  }
}

TEST_F(Restarted, AFamilyOfOutputsGoesOn) {
  QuantizeRequest whole = request("whole");
  whole.recipe.outputs = parse_outputs(
      "gptq[bits=3,group_size=32,name=small],gptq[mse=true,lm_head=true,untie=true],gguf:q4_0[rule=*.o_proj:dense]");
  const std::string expected = run(whole, 1);
  for (const char* folder : {"small", "gptq", "gguf-q4_0"})
    EXPECT_NE(expected.find(std::string(folder) + "/" + kManifestName), std::string::npos) << expected;
  for (const double overhead : {kSnapshotAlways, kSnapshotNever}) {
    QuantizeRequest pieces = whole;
    pieces.output = (folder_ / fmt::format("pieces-{}", overhead > 0)).string();
    pieces.work_dir = pieces.output + ".work";
    pieces.commit.overhead = overhead;
    ASSERT_FALSE(run_some(pieces, 2, 2));
    ASSERT_FALSE(run_some(pieces, 1, 3));
    EXPECT_EQ(run(pieces, 3), expected);
    expect_clean(pieces);
  }
}

TEST_F(Restarted, OriginalActivationsGoOnBesideTheQuantizedOnes) {
  for (const bool true_sequential : {true, false}) {
    QuantizeRequest whole = request(fmt::format("whole-{}", true_sequential));
    whole.recipe.gptaq_alpha = 0.5;
    whole.recipe.true_sequential = true_sequential;
    run(whole, 1);
    QuantizeRequest pieces = whole;
    pieces.output = whole.output + "-pieces";
    pieces.work_dir = pieces.output + ".work";
    ASSERT_FALSE(run_some(pieces, 2, 2));  // the stop leaves hidden states of both kinds
    run(pieces, 3);
    EXPECT_EQ(sums(pieces), sums(whole));
    expect_clean(pieces);
    QuantizeRequest broken = whole;  // without hidden states both kinds of activations are made again
    broken.output = whole.output + "-broken";
    broken.work_dir = broken.output + ".work";
    run_with_failure(broken);
    EXPECT_EQ(sums(broken), sums(whole));
    EXPECT_EQ(report(broken)["ranks"][0]["layers_replayed"], 3);
  }
}

TEST_F(Restarted, ForwardsNoCommittedLayerButTheReplay) {
  QuantizeRequest some = request("some");
  some.commit.overhead = kSnapshotNever;
  ASSERT_FALSE(run_some(some, 2, 4));  // the stop leaves a snapshot
  run(some, 3);
  Json ranks = report(some)["ranks"];
  for (const Json& rank : ranks) {
    EXPECT_EQ(rank["layers_skipped"], 4);
    EXPECT_EQ(rank["layers_replayed"], 0);
    EXPECT_EQ(rank["layers_committed"], 2);
  }
}

TEST_F(Restarted, ReplaysThroughTheCodesWithoutHiddenStates) {
  QuantizeRequest whole = request("whole");
  run(whole, 1);
  QuantizeRequest broken = request("broken");
  run_with_failure(broken);
  EXPECT_EQ(sums(broken), sums(whole));
  EXPECT_EQ(report(broken)["ranks"][2]["layers_skipped"], 0);
  EXPECT_EQ(report(broken)["ranks"][2]["layers_replayed"], 3);
  EXPECT_EQ(report(broken)["ranks"][2]["layers_committed"], 3);
}

TEST_F(Restarted, LayersWhoseCodesAreLostAreMadeAgain) {
  QuantizeRequest whole = request("whole");
  run(whole, 1);
  QuantizeRequest some = request("some");
  ASSERT_FALSE(run_some(some, 2, 4));
  fs::remove(some.work_dir + "/checkpoint/hidden-00004.json");  // the codes went when the hidden states came
  run(some, 3);
  EXPECT_EQ(sums(some), sums(whole));
  EXPECT_EQ(report(some)["ranks"][0]["layers_committed"], 6);
}

TEST_F(Restarted, HiddenStatesThatWereRemovedAreMadeAgain) {
  QuantizeRequest whole = request("whole");
  run(whole, 1);
  QuantizeRequest some = request("some");
  ASSERT_FALSE(run_some(some, 2, 4));
  fs::remove(some.work_dir + "/checkpoint/hidden-00004-1.h5");
  run(some, 3);
  EXPECT_EQ(sums(some), sums(whole));
}

// Which activations pass the layers is the interrupted run's choice, not the other schedule's default.
TEST_F(Restarted, AnotherScheduleGoesOnWithWhatWasPropagated) {
  for (const bool staged_first : {false, true}) {
    QuantizeRequest pieces = request(staged_first ? "staged" : "sequential");
    QuantizeRequest staged = pieces;
    staged.recipe.schedule = Schedule::kStaged;
    staged.recipe.stages = 2;
    QuantizeRequest whole = request("whole-" + pieces.output.substr(pieces.output.rfind('/') + 1));
    whole.recipe.propagate = staged_first ? "original" : "gptq";
    run(whole, 1);
    QuantizeRequest stopped = staged_first ? staged : pieces;
    stopped.commit.stop_wanted = [&] { return fs::exists(pieces.work_dir + "/checkpoint/layer-00000.json"); };
    EXPECT_THROW(run(stopped, 2), Error);
    run(staged_first ? pieces : staged, 4);
    EXPECT_EQ(sums(pieces), sums(whole)) << staged_first;
  }
}

TEST_F(Restarted, OtherGridsAndSchedulesGoOn) {
  for (const std::string propagate : {"original", "gptq"}) {
    QuantizeRequest whole = request("whole-" + propagate);
    whole.recipe.propagate = propagate;
    run(whole, 1);
    QuantizeRequest pieces = whole;
    pieces.output = whole.output + "-pieces";
    pieces.work_dir = pieces.output + ".work";
    pieces.commit.overhead = kSnapshotAlways;
    ASSERT_FALSE(run_some(pieces, 2, 2));
    pieces.recipe.schedule = Schedule::kStaged;
    pieces.recipe.stages = 3;
    run(pieces, 3);
    EXPECT_EQ(sums(pieces), sums(whole)) << propagate;
  }
}

TEST_F(Restarted, AChangedRecipeModelOrCalibrationIsRefusedByName) {
  QuantizeRequest first = request("first");
  ASSERT_FALSE(run_some(first, 1, 2));
  const auto refused = [&](const std::string& word, auto&& change) {
    QuantizeRequest other = first;
    change(other);
    try {
      run(other, 2);
      ADD_FAILURE() << "no error for " << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refused("bits", [](QuantizeRequest& r) { r.recipe.bits = 3; });
  refused("damp_percent", [](QuantizeRequest& r) { r.recipe.damp_percent = 0.02; });
  for (const char* outputs : {"gptq,dense", "gptq[bits=3]", "gptq[mse=true]", "gptq[name=other]", "gptq[rule=*.o_proj:dense]",
                              "gptq[max_shard_size=1GB]"})
    refused("format", [&](QuantizeRequest& r) { r.recipe.outputs = parse_outputs(outputs); });
  refused("calibration tokens", [](QuantizeRequest& r) { r.calibration.samples[3][5] ^= 1; });
  refused("model differs", [](QuantizeRequest& r) { r.model = MPIQUANT_SOURCE_DIR "/tests/models/tiny-mistral"; });
  // The refusals left the state as it was.
  QuantizeRequest whole = request("whole");
  run(whole, 1);
  run(first, 2);
  EXPECT_EQ(sums(first), sums(whole));
  EXPECT_EQ(report(first)["ranks"][0]["layers_committed"], 4);
}

// Also where a weight differs that the fingerprint does not look at.
TEST_F(Restarted, AModelWhoseFilesWereWrittenToIsRefused) {
  const fs::path model = folder_ / "model", moved = folder_ / "moved";
  fs::copy(kModel, model);
  QuantizeRequest first = request("first");
  first.model = model.string();
  ASSERT_FALSE(run_some(first, 1, 2));
  fs::rename(model, moved);
  first.model = moved.string();
  const fs::path shard = moved / "model-00001-of-00002.safetensors";
  const auto written = fs::last_write_time(shard);
  File file = File::open_write(shard);
  std::byte kept{};
  file.read_at(file.size() - 12345, std::span(&kept, 1));
  const std::byte other = kept ^ std::byte{1};
  file.write_at(file.size() - 12345, std::span(&other, 1));
  try {
    run(first, 2);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("model's weight files"), std::string::npos) << error.what();
  }
  file.write_at(file.size() - 12345, std::span(&kept, 1));
  fs::last_write_time(shard, written);
  EXPECT_TRUE(run_some(first, 2, 9));  // from another place, with the same times
}

TEST_F(Restarted, NeverBeginsAnewAndRequireNeedsState) {
  QuantizeRequest some = request("some");
  some.restart = Restart::kRequire;
  EXPECT_THROW(run(some, 1), Error);
  some.restart = Restart::kAuto;
  ASSERT_FALSE(run_some(some, 1, 2));
  some.restart = Restart::kNever;
  some.recipe.bits = 3;
  run(some, 1);
  EXPECT_EQ(report(some)["ranks"][0]["layers_committed"], 6);
  expect_clean(some);
}

TEST_F(Restarted, RunsOfOneOutputWithOtherWorkFoldersDoNotMix) {
  QuantizeRequest whole = request("whole");
  run(whole, 1);
  QuantizeRequest one = request("shared"), other = one;
  one.work_dir = (folder_ / "one").string();
  other.work_dir = (folder_ / "other").string();
  other.recipe.mse = true;  // files of the same sizes
  EXPECT_FALSE(run_some(one, 2, 3));
  EXPECT_FALSE(run_some(other, 2, 2));
  EXPECT_TRUE(run_some(one, 1, 9));
  EXPECT_EQ(sums(one), sums(whole));
}

TEST_F(Restarted, DamagedStateIsRefusedAndKept) {
  QuantizeRequest some = request("some");
  some.commit.overhead = kSnapshotAlways;
  ASSERT_FALSE(run_some(some, 2, 3));
  const std::string layer = some.work_dir + "/checkpoint/layer-00001.json";
  const std::string text = read_text_file(layer);
  write_text_file(layer, text.substr(0, text.size() / 2));
  try {
    run(some, 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_NE(std::string(error.what()).find("layer-00001.json"), std::string::npos) << error.what();
  }
  write_text_file(layer, text);
  const std::string hidden = some.work_dir + "/checkpoint/hidden-00003.json";
  const std::string units = read_text_file(hidden);
  write_text_file(hidden, R"({"first": "hidden-00003-0.h5"})");
  try {
    run(some, 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput) << error.what();
  }
  write_text_file(hidden, units);
  run(some, 1);
  EXPECT_EQ(report(some)["ranks"][0]["layers_committed"], 3);
}

TEST_F(Restarted, SumsFollowTheWriteFrontAndGoOnFromTheCheckpoint) {
  const auto amount = [](const QuantizeRequest& request, const char* name) {
    std::int64_t sum = 0;
    const Json ranks = report(request)["ranks"];
    for (const Json& rank : ranks) sum += rank[name].get<std::int64_t>();
    return sum;
  };
  const auto layer_path = [](const QuantizeRequest& request, int layer) {
    return request.work_dir + fmt::format("/checkpoint/layer-{:05}.json", layer);
  };
  const auto summed = [](const Json& line) {
    std::int64_t bytes = 0;
    for (const auto& [name, state] : line["sums"].items()) bytes += std::stoll(state.get<std::string>());
    return bytes;
  };
  QuantizeRequest whole = request("whole");
  run(whole, 2);
  const auto size = static_cast<std::int64_t>(fs::file_size(whole.output + "/model.safetensors"));
  EXPECT_EQ(amount(whole, "bytes_summed_at_front") + amount(whole, "bytes_summed_at_end"), size);
  EXPECT_GT(amount(whole, "bytes_summed_at_front"), size / 2);

  QuantizeRequest some = request("some");
  ASSERT_FALSE(run_some(some, 2, 4));
  const Json line = parse_json(read_text_file(layer_path(some, 3)), "line");
  EXPECT_GT(summed(line), size / 4);
  run(some, 3);  // checks the sums
  EXPECT_EQ(summed(line) + amount(some, "bytes_summed_at_front") + amount(some, "bytes_summed_at_end"), size);

  // Without states that can be trusted, all is summed anew, and right.
  QuantizeRequest damaged = request("damaged");
  ASSERT_FALSE(run_some(damaged, 2, 4));
  for (int layer = 0; layer < 4; ++layer) {
    Json other = parse_json(read_text_file(layer_path(damaged, layer)), "line");
    for (auto& [name, state] : other["sums"].items()) {
      std::string text = state.get<std::string>();
      text[text.find(' ') + 1] ^= 1;
      state = text;
    }
    if (layer == 3) other.erase("sums");
    write_text_file(layer_path(damaged, layer), other.dump());
  }
  run(damaged, 1);
  EXPECT_EQ(amount(damaged, "bytes_summed_at_front") + amount(damaged, "bytes_summed_at_end"), size);
  EXPECT_EQ(sums(damaged), sums(whole));
}

TEST_F(Restarted, RoundToNearestSkipsWhatIsDone) {
  QuantizeRequest whole = request("whole");
  whole.recipe.method = "rtn";
  whole.calibration = {};
  run(whole, 1);
  QuantizeRequest some = whole;
  some.output = (folder_ / "some").string();
  some.work_dir = some.output + ".work";
  ASSERT_FALSE(run_some(some, 2, 3));
  run(some, 3);
  EXPECT_EQ(report(some)["ranks"][0]["layers_skipped"], 3);
  EXPECT_EQ(sums(some), sums(whole));
}

}  // namespace
}  // namespace mpiquant
