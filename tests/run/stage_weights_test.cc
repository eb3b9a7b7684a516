#include "src/run/stage_weights.h"

#include <mutex>
#include <set>

#include "io/safetensors_source.h"
#include "src/run/fingerprint.h"
#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

class StageWeights : public QuantizeTest {
 protected:
  void SetUp() override {
    QuantizeTest::SetUp();
    fs::copy(kModel, model_, fs::copy_options::recursive);
  }
  // Stages on some ranks; the folders from which they then read.
  std::set<std::string> stage(int ranks) const {
    std::set<std::string> folders;
    std::mutex mutex;
    run_on_threads(ranks, [&](Communicator& world) {
      ModelInput model = open_model(model_);
      const std::string before = model_fingerprint(world, *model.source);
      stage_weights(world, model, stage_);
      EXPECT_EQ(model.directory, model_);
      EXPECT_EQ(model_fingerprint(world, *model.source), before);
      const std::lock_guard lock(mutex);
      for (const std::string& file : dynamic_cast<const SafetensorsSource&>(*model.source).files())
        folders.insert(fs::path(file).parent_path().string());
    });
    return folders;
  }
  std::vector<std::string> copies() const { return list_directory(stage_); }

  std::string model_ = (fs::path(testing::TempDir()) / fmt::format("staged-model-{}", getpid())).string();
  std::string stage_ = model_ + "-copies";
  void TearDown() override {
    fs::remove_all(model_);
    fs::remove_all(stage_);
    QuantizeTest::TearDown();
  }
};

TEST_F(StageWeights, OneRankCopiesAndAllReadTheCopy) {
  const std::set<std::string> folders = stage(3);
  ASSERT_EQ(folders.size(), 1U);
  ASSERT_EQ(copies().size(), 1U);
  EXPECT_EQ(*folders.begin(), stage_ + "/" + copies()[0]);
  EXPECT_EQ(list_directory(*folders.begin()),
            (std::vector<std::string>{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                      "model.safetensors.index.json"}));
}

TEST_F(StageWeights, AWholeCopyIsUsedAndAnyOtherIsNot) {
  const std::string copy = *stage(1).begin();
  const std::string shard = copy + "/model-00001-of-00002.safetensors";
  const auto written = fs::last_write_time(shard);
  EXPECT_EQ(*stage(2).begin(), copy);
  EXPECT_EQ(fs::last_write_time(shard), written);
  // What a killed copy leaves has another name, and goes when its process is gone.
  const std::string partial = copies()[0];
  fs::rename(copy, stage_ + "/keep");
  fs::create_directory(stage_ + "/." + partial + ".partial-elsewhere-00000000-1");
  EXPECT_EQ(*stage(1).begin(), copy);
  EXPECT_EQ(copies().size(), 3U);
  // Changed originals are copied anew.
  fs::last_write_time(model_ + "/model-00001-of-00002.safetensors", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_NE(*stage(1).begin(), copy);
}

TEST_F(StageWeights, AFileShorterThanItsOriginalIsRefused) {
  const std::string copy = *stage(1).begin();
  fs::resize_file(copy + "/model-00002-of-00002.safetensors", 100);
  try {
    stage(2);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find(copy), std::string::npos) << error.what();
  }
  EXPECT_EQ(copies().size(), 1U);  // nothing partial stays
}

TEST_F(StageWeights, AFolderThatCannotBeMadeIsAnEnvironmentError) {
  write_text_file(stage_, "a file");
  try {
    stage(2);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  }
}

TEST_F(StageWeights, AFileSystemWithoutRoomIsRefusedWithTheNumbers) {
  run_on_threads(2, [&](Communicator& world) {
    ModelInput model = open_model(model_);
    try {
      stage_weights(world, model, "/proc/self");  // of a file system that never has room
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_NE(std::string(error.what()).find("/proc/self on"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("has 0.00 GB free"), std::string::npos) << error.what();
    }
  });
}

}  // namespace
}  // namespace mpiquant
