#include "src/run/rotated_model.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "kernels/cpu/cpu_backend.h"
#include "tests/model/forward_run.h"
#include "tests/model/memory_source.h"
#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

std::vector<float> logits_of(const TensorSource& source, const ModelSpec& spec) {
  std::vector<std::int32_t> ids(24);
  std::iota(ids.begin(), ids.end(), 5);
  const auto backend = make_cpu_backend(1, ComputeType::kF32);
  return run_forward(source, spec, ids, {24}, *backend).logits;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

std::string model_folder(const std::string& name) { return MPIQUANT_SOURCE_DIR "/tests/models/" + name; }

class RotatedModel : public testing::TestWithParam<const char*> {};

TEST_P(RotatedModel, ComputesWhatTheModelComputes) {
  const ModelInput model = open_model(model_folder(GetParam()));
  const ModelInput rotated = rotated_model(open_model(model_folder(GetParam())));
  EXPECT_FALSE(rotated.spec.tied);
  const std::vector<float> expected = logits_of(*model.source, model.spec);
  EXPECT_LE(relative_error(logits_of(*rotated.source, rotated.spec), expected), 1e-5);
  // One tensor that is not rotated as the others is seen.
  MemorySource mutant(*rotated.source);
  const std::string values = model.spec.layers[1].blocks[0].linears[2].weight();
  model.source->read_rows(values, 0, model.source->at(values).rows(), mutant.values(values));
  EXPECT_GE(relative_error(logits_of(mutant, rotated.spec), expected), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(Models, RotatedModel, testing::Values("tiny-llama", "tiny-llama3", "tiny-mistral"));

TEST(RotatedModel, BiasesTurnWithTheRows) {
  ModelInput model = open_model(model_folder("tiny-llama"));
  auto source = std::make_unique<MemorySource>(*model.source);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (LayerSpec& layer : model.spec.layers) {
    for (BlockSpec& block : layer.blocks)
      for (LinearSpec& linear : block.linears) {
        linear.has_bias = true;
        std::vector<float> bias(static_cast<std::size_t>(linear.rows));
        for (float& value : bias) value = 0.1F * normal(random);
        source->add(linear.bias(), {linear.rows}, std::move(bias));
      }
    for (float& value : source->values(layer.input_norm)) value *= 1 + 0.5F * normal(random);
  }
  model.source = std::move(source);
  const std::vector<float> expected = logits_of(*model.source, model.spec);
  const ModelInput rotated = rotated_model(std::move(model));
  EXPECT_LE(relative_error(logits_of(*rotated.source, rotated.spec), expected), 1e-5);
}

TEST(RotatedModel, RowsAreTheSameInAnyRange) {
  const ModelInput rotated = rotated_model(open_model(model_folder("tiny-llama")));
  for (const TensorEntry& entry : rotated.source->entries()) {
    const auto values = static_cast<std::size_t>(element_count(entry.shape));
    const std::size_t width = values / static_cast<std::size_t>(entry.rows());
    std::vector<float> whole(values), some(3 * width);
    rotated.source->read_rows(entry.name, 0, entry.rows(), whole);
    rotated.source->read_rows(entry.name, 5, 8, some);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), whole.begin() + static_cast<std::ptrdiff_t>(5 * width))) << entry.name;
  }
}

TEST(RotatedModel, OutputsCarryTheDtypesOfTheOriginal) {
  const ModelInput model = open_model(model_folder("tiny-llama3"));  // tied
  Recipe recipe;
  recipe.group_size = 32;
  recipe.transforms = {"rotate"};
  std::vector<std::string> notes;
  const std::vector<OutputSpec> outputs = resolve_outputs(recipe, model.spec, model.dtypes(), notes);
  const auto head = std::ranges::find(outputs.front().dense, model.spec.head.weight(), &DenseChoice::source);
  ASSERT_NE(head, outputs.front().dense.end());
  EXPECT_EQ(head->dtype, model.dtypes().at(model.spec.embedding));
}

TEST(RotatedModel, IsMadeWhereAnOutputNeedsIt) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gptq,gguf:q4_0");
  const ModelInput plain = as_needed(open_model(model_folder("tiny-llama3")), recipe);
  EXPECT_EQ(&plain.stored(), &plain);
  recipe.outputs = parse_outputs("gptq,gguf:q4_0[transforms=rotate]");
  const ModelInput both = as_needed(open_model(model_folder("tiny-llama3")), recipe);
  EXPECT_EQ(&both.form({"rotate"}), &both);
  EXPECT_TRUE(both.form({}).spec.tied);
  EXPECT_FALSE(both.spec.tied);
}

class RotatedRun : public QuantizeTest {
 protected:
  QuantizeRequest rotating(const std::string& name) const {
    QuantizeRequest out = request(name);
    out.model = model_folder("tiny-llama3");
    out.recipe.group_size = 32;
    out.recipe.transforms = {"rotate"};
    out.recipe.outputs = parse_outputs("gptq,gguf:q4_0,compressed-tensors");
    out.recipe.quantize_head = true;  // no longer tied
    return out;
  }
};

TEST_F(RotatedRun, BytesDoNotDependOnRanksAndGoOn) {
  const std::string expected = run(rotating("one"), 1);
  EXPECT_EQ(run(rotating("three"), 3), expected);
  QuantizeRequest stopped = rotating("stopped");
  stopped.commit.stop_wanted = [] { return true; };
  EXPECT_THROW(run(stopped, 2), Error);
  stopped.commit = {};
  EXPECT_EQ(run(stopped, 1), expected);
}

TEST_F(RotatedRun, BytesDoNotDependOnWhereTheMemoryIs) {
  QuantizeRequest host = rotating("host");
  host.recipe.outputs = parse_outputs("gptq");
  run(host, 1);
  QuantizeRequest device = host;
  device.output += "-device";
  run_on_threads(2, [&](Communicator& world) { run_device_rank(world, device, std::size_t{1} << 32); });
  EXPECT_EQ(read_text_file(device.output + "/" + kManifestName), read_text_file(host.output + "/" + kManifestName));
}

TEST_F(RotatedRun, BytesDoNotDependOnTheSchedule) {
  QuantizeRequest one = rotating("one");
  one.recipe.propagate = "original";
  QuantizeRequest staged = one;
  staged.output += "-staged";
  staged.work_dir += "-staged";
  staged.recipe.schedule = Schedule::kStaged;
  staged.recipe.stages = 2;
  EXPECT_EQ(run(staged, 2), run(one, 3));
}

// Rows of o_proj and down_proj come of blocks of them: ranges of ranks and of slabs begin where blocks do.
TEST_F(RotatedRun, RanksReadNoStoredRowTwice) {
  const auto bytes_read = [&](int ranks) {
    QuantizeRequest mine = rotating(fmt::format("of-{}", ranks));
    mine.model = model_folder("tiny-llama");
    mine.recipe.outputs = parse_outputs("gptq");
    mine.recipe.rules = {parse_rule("model.layers.1.*:dense")};
    run(mine, ranks);
    const Json report = parse_json(read_text_file(mine.work_dir + "/report.json"), "report");
    std::int64_t bytes = 0;
    for (const Json& rank : report["ranks"]) bytes += rank["bytes_read"].get<std::int64_t>();
    return bytes;
  };
  const ModelInput model = open_model(model_folder("tiny-llama"));
  std::int64_t everywhere = 0;  // vectors, again for each linear they go into, and pieces by which ranks compare what they see
  for (const TensorEntry& entry : model.source->entries())
    everywhere += std::min<std::int64_t>(entry.bytes, 4096) + 10 * (entry.shape.size() == 1 ? entry.bytes : 0);
  const LinearSpec& down = model.spec.layers[0].blocks.back().linears.front();
  ASSERT_EQ(down.role, Role::kDown);
  const std::int64_t downs = 2 * down.rows * down.cols * std::ssize(model.spec.layers);
  ASSERT_GT(downs, 4 * everywhere);  // blocks that two of three ranks read would be seen
  const std::int64_t one = bytes_read(1), three = bytes_read(3);
  EXPECT_GE(three, one - 3 * everywhere);
  EXPECT_LE(three, one + 2 * everywhere);
}

TEST_F(RotatedRun, GoesOnWithItsTransformAlone) {
  QuantizeRequest stopped = rotating("stopped");
  stopped.recipe.quantize_head = false;
  stopped.commit.stop_wanted = [] { return true; };
  EXPECT_THROW(run(stopped, 1), Error);
  stopped.commit = {};
  stopped.recipe.transforms.clear();
  try {
    run(stopped, 1);
    ADD_FAILURE() << "another model goes on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("transforms"));
  }
}

TEST_F(RotatedRun, RoundToNearestIsRotatedToo) {
  QuantizeRequest plain = rotating("plain"), rotated = rotating("rotated");
  plain.recipe.method = rotated.recipe.method = "rtn";
  plain.recipe.transforms.clear();
  plain.recipe.untie = true;
  plain.calibration = rotated.calibration = {};
  EXPECT_NE(run(plain, 2), run(rotated, 2));
  EXPECT_FALSE(open_readable_model(rotated.output + "/gptq").spec.tied);
}

// Fraction of equal packed words of two gptq outputs.
double equal_codes(const std::string& a, const std::string& b) {
  const auto words = [](const std::string& folder) {
    std::vector<std::byte> all;
    const ModelInput model = open_readable_model(folder);
    for (const LayerSpec& layer : model.spec.layers)
      for (const BlockSpec& block : layer.blocks)
        for (const LinearSpec& linear : block.linears) {
          std::vector<std::byte> bytes(static_cast<std::size_t>(linear.rows * linear.cols) * sizeof(float));
          model.source->read_raw(linear.weight(), 0, bytes);
          all.insert(all.end(), bytes.begin(), bytes.end());
        }
    return all;
  };
  const auto x = words(a), y = words(b);
  std::size_t equal = 0;
  for (std::size_t i = 0; i < x.size(); i += sizeof(float)) equal += std::memcmp(&x[i], &y[i], sizeof(float)) == 0 ? 1 : 0;
  return static_cast<double>(equal * sizeof(float)) / static_cast<double>(x.size());
}

TEST_F(RotatedRun, KeptHessiansOfTheModelServeTheRotatedOne) {
  QuantizeRequest direct = rotating("direct");
  direct.recipe.propagate = "original";
  direct.recipe.outputs = parse_outputs("gptq");
  run(direct, 1);
  QuantizeRequest kept = direct;
  kept.recipe.untie = true;
  kept.output = (folder_ / "kept").string();
  kept.work_dir = kept.output + ".work";
  kept.recipe.transforms.clear();
  kept.keep_hessians = true;
  run(kept, 2);
  QuantizeRequest mapped = direct;
  mapped.output = (folder_ / "mapped").string();
  mapped.work_dir = mapped.output + ".work";
  mapped.hessians = kept.work_dir + "/hessians";
  mapped.calibration = {};
  run(mapped, 2);
  // Sums of rotated inputs and rotated sums differ in their last bits.
  EXPECT_GE(equal_codes(mapped.output, direct.output), 0.99);
  EXPECT_LE(equal_codes(kept.output, direct.output), 0.5);
  QuantizeRequest back = mapped;
  back.output = (folder_ / "back").string();
  back.work_dir = back.output + ".work";
  back.recipe.transforms.clear();
  back.recipe.untie = true;
  EXPECT_NE(run(back, 1), "");
}

TEST_F(RotatedRun, KeptHessiansOfTheRotatedModelServeTheOther) {
  QuantizeRequest kept = rotating("kept");
  kept.recipe.propagate = "original";
  kept.recipe.outputs = parse_outputs("gptq");
  kept.keep_hessians = true;
  const std::string expected = run(kept, 1);
  QuantizeRequest again = kept;
  again.keep_hessians = false;
  again.output = (folder_ / "again").string();
  again.work_dir = again.output + ".work";
  again.hessians = kept.work_dir + "/hessians";
  again.calibration = {};
  EXPECT_EQ(run(again, 2), expected);
  QuantizeRequest plain = again;
  plain.output = (folder_ / "plain").string();
  plain.work_dir = plain.output + ".work";
  plain.recipe.transforms.clear();
  plain.recipe.untie = true;
  run(plain, 2);
  QuantizeRequest direct = rotating("direct");
  direct.recipe = plain.recipe;
  run(direct, 1);
  EXPECT_GE(equal_codes(plain.output, direct.output), 0.99);
  EXPECT_LE(equal_codes(plain.output, kept.output), 0.5);
}

// Sets an element of a tensor of 2-byte floats in a safetensors file to zero.
void clear_value(const fs::path& file, const std::string& tensor, std::int64_t index) {
  std::string bytes = read_text_file(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const Json about = parse_json(bytes.substr(sizeof header, header), "header");
  const auto at = sizeof header + header + about.at(tensor).at("data_offsets")[0].get<std::size_t>();
  std::memset(bytes.data() + at + 2 * static_cast<std::size_t>(index), 0, 2);
  std::ofstream(file, std::ios::binary) << bytes;
}

// A run with outputs of both forms of a model.
class BothForms : public RotatedRun {
 protected:
  QuantizeRequest both(const std::string& name, const std::string& formats) const {
    QuantizeRequest out = rotating(name);
    out.recipe.transforms.clear();
    out.recipe.quantize_head = false;
    out.recipe.outputs = parse_outputs(formats);
    return out;
  }
  static constexpr const char* kRotatedFirst =
      "gptq[transforms=rotate,lm_head=true],gptq[name=plain],gguf:q4_0[lm_head=true],dense:gptq[transforms=rotate,name=decoded]";
  static constexpr const char* kPlainFirst = "gptq,gguf:q4_0[lm_head=true,transforms=rotate],gptq[transforms=rotate,name=turned]";
};

TEST_F(BothForms, TheFirstOutputIsThatOfARunOfItsOwn) {
  for (const std::string form : {"", "[transforms=rotate]"}) {
    const QuantizeRequest alone = both("alone" + form, "gptq" + form);
    run(alone, 1);
    for (const std::string other : {"[transforms=rotate,name=other]", "[name=other]"}) {
      const QuantizeRequest mixed = both("mixed" + form + other, "gptq" + form + ",gptq" + other);
      run(mixed, 2);
      EXPECT_EQ(read_text_file(mixed.output + "/gptq/" + kManifestName), read_text_file(alone.output + "/" + kManifestName))
          << form << other;
    }
  }
}

TEST_F(BothForms, TheOtherFormHasItsOwnCodes) {
  for (const bool rotated_first : {true, false}) {
    const std::string first = rotated_first ? "gptq[transforms=rotate]" : "gptq";
    const std::string second = rotated_first ? "" : "transforms=rotate,";
    QuantizeRequest mixed = both(fmt::format("mixed{}", rotated_first), fmt::format("{},gptq[{}name=second]", first, second));
    QuantizeRequest alone = both(fmt::format("alone{}", rotated_first), fmt::format("gptq[{}name=second]", second));
    mixed.recipe.propagate = alone.recipe.propagate = "original";
    run(mixed, 2);
    run(alone, 1);
    EXPECT_GE(equal_codes(mixed.output + "/second", alone.output), 0.99) << first;
    EXPECT_LE(equal_codes(mixed.output + "/second", mixed.output + "/gptq"), 0.5) << first;
  }
}

TEST_F(BothForms, BytesDoNotDependOnRanksAndGoOn) {
  for (const char* formats : {kRotatedFirst, kPlainFirst}) {
    const std::string name = formats == kPlainFirst ? "plain" : "rotated";
    const std::string expected = run(both(name + "-one", formats), 1);
    EXPECT_EQ(run(both(name + "-three", formats), 3), expected);
    QuantizeRequest stopped = both(name + "-stopped", formats);
    stopped.commit.stop_wanted = [] { return true; };
    EXPECT_THROW(run(stopped, 2), Error);
    stopped.commit = {};
    EXPECT_EQ(run(stopped, 4), expected);
    QuantizeRequest staged = both(name + "-staged", formats), whole = both(name + "-whole", formats);
    staged.recipe.propagate = whole.recipe.propagate = "original";
    staged.recipe.true_sequential = whole.recipe.true_sequential = false;
    staged.recipe.schedule = Schedule::kStaged;
    staged.recipe.stages = 2;
    EXPECT_EQ(run(staged, 4), run(whole, 1));
  }
}

TEST_F(BothForms, BytesDoNotDependOnWhereTheMemoryIs) {
  const QuantizeRequest host = both("host", kPlainFirst);
  run(host, 1);
  QuantizeRequest device = host;
  device.output += "-device";
  run_on_threads(2, [&](Communicator& world) { run_device_rank(world, device, std::size_t{1} << 32); });
  for (const char* output : {"gptq", "gguf:q4_0", "turned"}) {
    const std::string manifest =
        std::string("/") + (output == std::string("gguf:q4_0") ? "gguf-q4_0" : output) + "/" + kManifestName;
    EXPECT_EQ(read_text_file(device.output + manifest), read_text_file(host.output + manifest)) << output;
  }
}

TEST_F(BothForms, RoundToNearestHasBothForms) {
  QuantizeRequest mixed = both("mixed", "gptq,gptq[transforms=rotate,name=turned]");
  QuantizeRequest alone = both("alone", "gptq[transforms=rotate,name=turned]");
  mixed.recipe.method = alone.recipe.method = "rtn";
  mixed.recipe.propagate = "original";
  mixed.calibration = alone.calibration = {};
  run(mixed, 3);
  run(alone, 1);
  EXPECT_EQ(equal_codes(mixed.output + "/turned", alone.output), 1.0);
}

TEST_F(BothForms, KeptHessiansServeBothFormsDirectly) {
  QuantizeRequest kept = both("kept", "gptq[transforms=rotate,name=turned]");
  kept.recipe.propagate = "original";
  kept.keep_hessians = true;
  run(kept, 1);
  for (const char* formats : {"gptq,gptq[transforms=rotate,name=turned]", "gptq[transforms=rotate,name=turned],gptq"}) {
    QuantizeRequest mixed = both(formats[4] == ',' ? "first" : "second", formats);
    mixed.hessians = kept.work_dir + "/hessians";
    mixed.calibration = {};
    run(mixed, 2);
    EXPECT_EQ(equal_codes(mixed.output + "/turned", kept.output), 1.0) << formats;
  }
}

TEST_F(BothForms, ANormOfZeroIsRefusedBeforeTheWork) {
  fs::create_directory(folder_ / "model");
  fs::copy(model_folder("tiny-llama3"), folder_ / "model", fs::copy_options::recursive);
  const ModelInput model = open_model(model_folder("tiny-llama3"));
  clear_value(folder_ / "model" / "model.safetensors", model.spec.layers[1].input_norm, 5);
  QuantizeRequest mixed = both("mixed", "gptq,gptq[transforms=rotate,name=turned]");
  mixed.model = (folder_ / "model").string();
  try {
    run(mixed, 2);
    ADD_FAILURE() << "a column that the Hessians do not show";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("is 0 at 5"), testing::HasSubstr("--propagate")));
  }
  EXPECT_FALSE(fs::exists(mixed.work_dir));
  mixed.recipe.propagate = "turned";
  EXPECT_NE(run(mixed, 2), "");
}

TEST_F(BothForms, CorrectionsAreRefused) {
  QuantizeRequest corrected = both("corrected", kPlainFirst);
  corrected.recipe.gptaq_alpha = 0.5;
  try {
    run(corrected, 2);
    ADD_FAILURE() << "the correction of one form is no correction of the other";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("transforms"));
  }
}

}  // namespace
}  // namespace mpiquant
