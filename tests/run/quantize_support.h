#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>

#include "io/file.h"
#include "io/manifest.h"
#include "src/base/error.h"
#include "src/comm/staged_comm.h"
#include "src/comm/thread_comm.h"
#include "src/plan/output_choice.h"
#include "src/run/quantize.h"
#include "src/run/rotated_model.h"
#include "tests/kernels/guarded_backend.h"

namespace mpiquant {

namespace fs = std::filesystem;

inline constexpr const char* kModel = MPIQUANT_SOURCE_DIR "/tests/models/tiny-llama";

// A folder of its own for each test, removed afterwards.
class QuantizeTest : public testing::Test {
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
    const ModelInput model = as_needed(open_model(request.model), request.recipe);
    Grid grid = make_grid(world, request.recipe.stages);
    const auto backend = make_cpu_backend(request.threads, request.recipe.compute);
    Job job{world, grid, *backend};
    quantize(job, request, model);
  }

  // The same on a backend whose memory the host may not touch; what ranks exchange of it goes through the host's.
  static void run_device_rank(Communicator& world, const QuantizeRequest& request, std::size_t memory,
                              std::size_t free = std::size_t{1} << 40, bool roomy = true) {
    const ModelInput model = as_needed(open_model(request.model), request.recipe);
    Grid grid = make_grid(world, request.recipe.stages);
    GuardedBackend backend(make_cpu_backend(request.threads, request.recipe.compute), memory, free);
    if (!roomy) backend.without_room();
    grid.group = make_staged_comm(std::move(grid.group), backend.access());
    Job job{world, grid, backend};
    quantize(job, request, model);
    EXPECT_EQ(job.states_on_host, !roomy);
    EXPECT_LE(backend.most_used(), backend.reserved());
    EXPECT_GE(backend.most_used(), backend.reserved() / 100);
  }

  // SHA256SUMS of every output, by path.
  std::string run(QuantizeRequest request, int ranks) const {
    run_on_threads(ranks, [&](Communicator& world) { run_rank(world, request); });
    std::string sums;
    for (const auto& entry : fs::recursive_directory_iterator(request.output))
      if (entry.path().filename() == kManifestName)
        sums += entry.path().lexically_relative(request.output).string() + "\n" + read_text_file(entry.path());
    verify_manifest(request.recipe.outputs.size() == 1 ? request.output
                                                       : request.output + "/" + request.recipe.outputs.front().folder());
    return sums;
  }

  fs::path folder_;
};

}  // namespace mpiquant
