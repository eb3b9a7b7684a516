#include "src/run/model_input.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "io/hf_cache.h"
#include "io/quantized_source.h"
#include "io/safetensors_source.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/model/config.h"
#include "src/run/identity.h"

namespace mpiquant {

std::map<std::string, DType> ModelInput::dtypes() const {
  if (original) {
    std::map<std::string, DType> out = original->dtypes();
    out.try_emplace(spec.head.weight(), out.at(original->spec.head_weight()));
    return out;
  }
  std::map<std::string, DType> out;
  for (const TensorEntry& entry : source->entries())
    if (entry.dtype && is_float(*entry.dtype)) out[entry.name] = *entry.dtype;
  return out;
}

ModelInput open_model(const std::string& argument) {
  const ModelLocation location = resolve_model(argument);
  ModelInput input;
  input.directory = location.directory;
  input.name = location.name;
  input.source = std::make_unique<SafetensorsSource>(location.directory);
  input.spec = read_model(location.directory, *input.source);
  return input;
}

ModelInput open_readable_model(const std::string& argument) {
  namespace fs = std::filesystem;
  const bool is_file = fs::is_regular_file(argument);
  const ModelLocation location = resolve_model(is_file ? fs::absolute(argument).parent_path().string() : argument);
  PlainModel plain = open_plain_model(is_file ? argument : location.directory);
  ModelInput input;
  input.directory = location.directory;
  input.name = location.name;
  input.source = std::move(plain.source);
  input.in_blocks = std::move(plain.in_blocks);
  input.spec = parse_config(plain.config, DType::kF32);
  for (const std::string& unused : check_tensors(input.spec, *input.source))
    warn_line("{}: {} is not used", location.name, unused);
  return input;
}

void round_activations_of_blocks(ModelInput& model) {
  check(!model.in_blocks.empty(), ExitCode::kUsage,
        "--activations q8_0: {} is no GGUF file with tensors in blocks (llama.cpp rounds what it multiplies with those alone) "
        "leave "
        "the option away",
        model.name);
  const auto in_blocks = [&](const std::string& tensor) { return std::ranges::count(model.in_blocks, tensor) != 0; };
  for (LayerSpec& layer : model.spec.layers)
    for (BlockSpec& block : layer.blocks)
      for (LinearSpec& linear : block.linears) linear.rounded_input = in_blocks(linear.weight());
  model.spec.head.rounded_input = in_blocks(model.spec.head_weight());
}

namespace {

std::string sampled_content(const ModelInput& model) {
  constexpr std::size_t kTensors = 512;       // spread over all of them
  constexpr std::int64_t kPieceBytes = 4096;  // from the middle of each
  const std::filesystem::path config = std::filesystem::path(model.directory) / "config.json";
  std::string facts = std::filesystem::is_regular_file(config) ? hash_file_xxh3(config.string()) : "";
  const std::span<const TensorEntry> entries = model.source->entries();
  const std::size_t step = std::max<std::size_t>(entries.size() / kTensors, 1);
  std::vector<std::byte> piece;
  Xxh3 hash;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    facts += fmt::format("{}:{} [{}]\n", entries[i].name, entries[i].dtype_name, fmt::join(entries[i].shape, ","));
    if (i % step != 0) continue;
    piece.resize(static_cast<std::size_t>(std::min(entries[i].bytes, kPieceBytes)));
    model.source->read_raw(entries[i].name, (entries[i].bytes - static_cast<std::int64_t>(piece.size())) / 2, piece);
    hash.update(piece);
  }
  hash.update(std::as_bytes(std::span(facts)));
  return hash.hex();
}

}  // namespace

void require_same_files(Communicator& world, const ModelInput& model) {
  std::string mine;
  collectively(world, [&] { mine = sampled_content(model); });
  require_same(world, {{"content of the model's files", mine}});
}

std::string shared_content_hash(Job& job, const TensorSource& source) {
  constexpr std::size_t kDigits = 32;
  const std::vector<HashRange> ranges = source.hash_ranges();
  const auto ranks = static_cast<std::size_t>(job.world.size());
  std::string mine;
  collectively(job.world, [&] {
    std::vector<std::string> of_range;
    for (auto i = static_cast<std::size_t>(job.world.rank()); i < ranges.size(); i += ranks) of_range.emplace_back();
    job.backend.for_each(static_cast<std::int64_t>(of_range.size()), [&](Stream&, std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      of_range[at] = source.hash_range(ranges[static_cast<std::size_t>(job.world.rank()) + at * ranks]);
    });
    for (const std::string& hash : of_range) mine += hash;
  });
  const std::vector<std::string> by_rank = all_gather_strings(job.world, mine);
  std::vector<std::string> hashes;
  for (std::size_t i = 0; i < ranges.size(); ++i) hashes.push_back(by_rank[i % ranks].substr(i / ranks * kDigits, kDigits));
  return source.combine_hashes(hashes);
}

}  // namespace mpiquant
