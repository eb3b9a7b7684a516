// The forward pass against activations that Transformers computed in fp32 (reference.safetensors beside each model): input_ids
// [256], hidden.<layer> and logits at positions 0..31 and 224..255, nll [255].
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <memory>

#include "io/file.h"
#include "io/safetensors.h"
#include "io/safetensors_source.h"
#include "src/model/config.h"
#include "tests/io/fixtures.h"
#include "tests/kernels/guarded_backend.h"
#include "tests/model/forward_run.h"
#include "tests/model/memory_source.h"

namespace mpiquant {
namespace {

constexpr double kTolerance = 5e-5;  // relative L2 error of a row

struct Reference {
  explicit Reference(const std::string& path) {
    const File file = File::open_read(path);
    for (const SafetensorsEntry& entry : parse_safetensors_header(file).entries) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(entry.bytes));
      file.read_at(entry.offset, bytes);
      if (entry.name == "input_ids") {
        ids.resize(bytes.size() / sizeof(std::int32_t));
        std::memcpy(ids.data(), bytes.data(), bytes.size());
      } else {
        tensors[entry.name].resize(bytes.size() / sizeof(float));
        std::memcpy(tensors[entry.name].data(), bytes.data(), bytes.size());
      }
    }
  }
  std::vector<std::int32_t> ids;
  std::map<std::string, std::vector<float>> tensors;
};

// The largest relative L2 error of the 64 stored rows; values holds all 256.
double worst_row(const std::vector<float>& values, const std::vector<float>& stored) {
  const std::size_t width = stored.size() / 64;
  double worst = 0;
  for (std::size_t r = 0; r < 64; ++r) {
    const std::size_t position = r < 32 ? r : r + 192;
    double error = 0, norm = 0;
    for (std::size_t c = 0; c < width; ++c) {
      const double expected = static_cast<double>(stored[r * width + c]);
      error += std::pow(static_cast<double>(values[position * width + c]) - expected, 2);
      norm += expected * expected;
    }
    worst = std::max(worst, std::isfinite(error) ? std::sqrt(error / norm) : INFINITY);
  }
  return worst;
}

double nll_of(const std::vector<float>& logits, std::size_t vocab, std::size_t row, std::int32_t token) {
  const std::span<const float> values = std::span(logits).subspan(row * vocab, vocab);
  const float top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const float value : values) sum += std::exp(static_cast<double>(value - top));
  return std::log(sum) + static_cast<double>(top) - static_cast<double>(values[static_cast<std::size_t>(token)]);
}

class ForwardReference : public testing::TestWithParam<const char*> {
 protected:
  ForwardReference()
      : folder_(source_path("tests/models/") + GetParam()),
        source_(SafetensorsSource(folder_)),
        spec_(read_model(folder_, source_)),
        reference_(folder_ + "/reference.safetensors"),
        backend_(make_cpu_backend(1)) {}

  ForwardRun run() {
    return run_forward(source_, spec_, reference_.ids, {static_cast<std::int64_t>(reference_.ids.size())}, *backend_);
  }
  double hidden_error(const ForwardRun& run) const {
    double worst = 0;
    for (std::size_t i = 0; i + 1 < spec_.layers.size(); ++i)
      worst = std::max(worst, worst_row(run.hidden[i], reference_.tensors.at("hidden." + std::to_string(i))));
    return worst;
  }
  double logits_error(const ForwardRun& run) const { return worst_row(run.logits, reference_.tensors.at("logits")); }

  std::string folder_;
  MemorySource source_;
  ModelSpec spec_;
  Reference reference_;
  std::unique_ptr<Backend> backend_;
};

TEST_P(ForwardReference, HiddenStatesLogitsAndLossesAgree) {
  const ForwardRun run = this->run();
  EXPECT_LE(hidden_error(run), kTolerance);
  EXPECT_LE(logits_error(run), kTolerance);
  double total = 0, expected = 0;
  const std::vector<float>& nll = reference_.tensors.at("nll");
  for (std::size_t t = 0; t < nll.size(); ++t) {
    const double loss = nll_of(run.logits, static_cast<std::size_t>(spec_.vocab), t, reference_.ids[t + 1]);
    EXPECT_NEAR(loss, nll[t], 2e-4) << "token " << t;
    total += loss;
    expected += static_cast<double>(nll[t]);
  }
  EXPECT_NEAR(std::exp((total - expected) / static_cast<double>(nll.size())), 1.0, 5e-5);
  RecordProperty("hidden_error", std::to_string(hidden_error(run)));
  std::printf("%s: relative L2 error of hidden states %.2e, of logits %.2e\n", GetParam(), hidden_error(run), logits_error(run));
}

TEST_P(ForwardReference, SamplesOfAUnitDoNotSeeEachOther) {
  const std::vector<std::int32_t> ids(reference_.ids.begin(), reference_.ids.begin() + 150);
  std::vector<std::int32_t> twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.begin() + 90);
  const ForwardRun one = run_forward(source_, spec_, ids, {150}, *backend_),
                   two = run_forward(source_, spec_, twice, {150, 90}, *backend_);
  const std::size_t vocab = static_cast<std::size_t>(spec_.vocab);
  for (std::size_t i = 0; i < 150 * vocab; ++i) ASSERT_NEAR(two.logits[i], one.logits[i], 2e-4);
  for (std::size_t i = 0; i < 90 * vocab; ++i) ASSERT_NEAR(two.logits[150 * vocab + i], one.logits[i], 2e-4);
}

TEST_P(ForwardReference, ThreadsDoNotChangeABit) {
  const ForwardRun one = run();
  backend_ = make_cpu_backend(3);
  EXPECT_EQ(one.logits, run().logits);
}

TEST_P(ForwardReference, HostCodeTouchesNoDeviceBuffer) {
  const ForwardRun one = run();
  backend_ = std::make_unique<GuardedBackend>(make_cpu_backend(1));
  EXPECT_EQ(one.logits, run().logits);
}

// Changes that must be seen: if one of these passed the tolerance, the tests above would prove nothing.
TEST_P(ForwardReference, SwappedRowsFail) {
  const std::string name = spec_.layers[1].blocks[2].linears[1].weight();
  std::vector<float>& values = source_.values(name);
  std::swap_ranges(values.begin(), values.begin() + spec_.hidden, values.begin() + 5 * spec_.hidden);
  EXPECT_GT(logits_error(run()), 10 * kTolerance);
}

TEST_P(ForwardReference, WrongThetaFails) {
  spec_.rope.theta *= 1.01;
  EXPECT_GT(hidden_error(run()), 10 * kTolerance);
}

TEST_P(ForwardReference, WrongNormEpsilonFails) {
  spec_.norm_eps = 1e-5;
  EXPECT_GT(hidden_error(run()), 2 * kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, ForwardReference, testing::Values("tiny-llama", "tiny-llama3", "tiny-mistral"));

using ForwardLlama3 = ForwardReference;
TEST_P(ForwardLlama3, ForgottenScalingFails) {
  spec_.rope.type = RopeType::kDefault;
  EXPECT_GT(hidden_error(run()), 10 * kTolerance);
}
INSTANTIATE_TEST_SUITE_P(Models, ForwardLlama3, testing::Values("tiny-llama3"));

using ForwardMistral = ForwardReference;
TEST_P(ForwardMistral, WrongWindowFails) {
  const std::int64_t window = spec_.layers.front().sliding_window;
  ASSERT_EQ(window, 48);
  for (const std::int64_t wrong : {std::int64_t{0}, window - 1, window + 1}) {
    for (LayerSpec& layer : spec_.layers) layer.sliding_window = wrong;
    EXPECT_GT(hidden_error(run()), 10 * kTolerance) << wrong;
  }
}
INSTANTIATE_TEST_SUITE_P(Models, ForwardMistral, testing::Values("tiny-mistral"));

class ThirdParty : public testing::TestWithParam<const char*> {};
TEST_P(ThirdParty, LoadsAndRuns) {
  const std::string folder = fixture_path(std::string("models/") + GetParam());
  if (folder.empty()) GTEST_SKIP() << "third-party fixtures are absent";
  const SafetensorsSource source(folder);
  const ModelSpec spec = read_model(folder, source);
  EXPECT_TRUE(spec.tied);
  EXPECT_EQ(spec.dtype, DType::kF32);
  const auto backend = make_cpu_backend(1);
  const std::vector<std::int32_t> ids = {1, 3, 5, 7};
  const ForwardRun run = run_forward(source, spec, ids, {4}, *backend);
  EXPECT_FALSE(first_non_finite(run.logits).has_value());
}
INSTANTIATE_TEST_SUITE_P(Models, ThirdParty, testing::Values("stories260K", "babyllama-tok105"));

}  // namespace
}  // namespace mpiquant
