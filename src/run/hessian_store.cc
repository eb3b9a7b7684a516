#include "src/run/hessian_store.h"

#include <filesystem>
#include <system_error>

#include "io/file.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "/index.json";
constexpr int kVersion = 3;

std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

Json to_json(const HessianStore::Index& index) {
  return {{"version", kVersion},
          {"inputs", index.inputs},
          {"weight_files", index.weight_files},
          {"from_original", index.from_original},
          {"upstream", index.upstream},
          {"transforms", index.transforms},
          {"tokens", index.tokens},
          {"calibration", index.calibration}};
}

}  // namespace

std::string HessianStore::path(std::int64_t layer, std::size_t block) const {
  return fmt::format("{}/layer-{:05}-block-{}.h5", folder_, layer, block);
}

void HessianStore::begin(const Index& index) const {
  std::error_code error;
  fs::create_directories(folder_, error);
  check(!error, ExitCode::kEnvironment, "cannot create {} ({}) choose a --work-dir this user may write to", folder_,
        error.message());
  const std::string text = to_json(index).dump(1) + "\n";
  if (path_kind(folder_ + kIndex) == PathKind::kFile) {
    check(read_text_file(folder_ + kIndex) == text, ExitCode::kUsage,
          "{} holds the Hessians of another run (they would be mixed) remove them, or choose another --work-dir", folder_);
    return;
  }
  replace_text_file(folder_ + kIndex, text);
}

HessianStore::Index HessianStore::index() const {
  const std::string path = folder_ + kIndex;
  check(path_kind(path) == PathKind::kFile, ExitCode::kInput,
        "{} has no index.json (it is no folder of kept Hessians) give the one that --keep-hessians made: WORK_DIR/hessians",
        folder_);
  const Json json = parse_json(read_text_file(path), path);
  try {
    check(json.at("version") == kVersion, ExitCode::kInput, "{} has version {} (this program reads {}) make the Hessians again",
          path, json.at("version").dump(), kVersion);
    return {json.at("inputs").get<Identity>(),
            json.at("weight_files").get<std::string>(),
            json.at("from_original").get<bool>(),
            json.at("upstream").get<Identity>(),
            json.at("transforms").get<std::vector<std::string>>(),
            json.at("tokens").get<std::int64_t>(),
            json.at("calibration")};
  } catch (const Json::exception& error) {
    fail(ExitCode::kInput, "{} is damaged ({}) make the Hessians again", path, error.what());
  }
}

Hdf5Writer HessianStore::save(std::int64_t layer, std::size_t block, const Hessian& hessian) const {
  Hdf5Writer file(path(layer, block));
  file.write<float>("packed", {static_cast<std::int64_t>(hessian.packed.size())}, hessian.packed);
  file.write<std::int64_t>("tokens", {1}, std::span(&hessian.tokens, 1));
  file.close();
  return file;
}

bool HessianStore::has(std::int64_t layer, std::size_t block) const { return path_kind(path(layer, block)) == PathKind::kFile; }

std::int64_t HessianStore::bytes() const {
  std::int64_t sum = 0;
  if (path_kind(folder_) != PathKind::kDirectory) return sum;
  for (const std::string& name : list_directory(folder_))
    if (name.ends_with(".h5")) sum += File::open_read(folder_ + "/" + name).size();
  return sum;
}

Hessian HessianStore::load(std::int64_t layer, std::size_t block, std::int64_t cols) const {
  const std::string at = path(layer, block);
  check(has(layer, block), ExitCode::kInput,
        "{} is missing (the run that kept the Hessians has not ended, or did not need it) run it to its end", at);
  const Hdf5Reader file(at);
  check(file.shape("packed") == Shape{triangle(cols)} && file.shape("tokens") == Shape{1}, ExitCode::kInput,
        "{} is no Hessian of {} columns (it belongs to another model, or is damaged) make it again", at, cols);
  return {cols, file.read<std::int64_t>("tokens").front(), file.read<float>("packed")};
}

void check_usable(const HessianStore::Index& index, const Identity& inputs, const Identity& upstream) {
  if (const auto field = difference(index.inputs, inputs))
    fail(ExitCode::kUsage, "the kept Hessians were made with another {} (they would be wrong here) make them again", *field);
  if (index.from_original) return;
  if (const auto field = difference(index.upstream, upstream))
    fail(
        ExitCode::kUsage,
        "{} differs from the run that kept the Hessians (they come from activations of its quantized weights, and serve no other "
        "recipe) keep Hessians of a run with --propagate original",
        *field);
}

std::int64_t hessian_store_bytes(const ModelSpec& model, bool head) {
  std::int64_t values = head ? triangle(model.hidden) : 0;
  for (const LayerSpec& layer : model.layers)
    for (const BlockSpec& block : layer.blocks) values += triangle(block.cols());
  return values * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace mpiquant
