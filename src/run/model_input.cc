#include "src/run/model_input.h"

#include <filesystem>

#include "io/hf_cache.h"
#include "io/quantized_source.h"
#include "io/safetensors_source.h"
#include "src/base/log.h"
#include "src/model/config.h"

namespace mpiquant {

std::map<std::string, DType> ModelInput::dtypes() const {
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
  input.spec = parse_config(plain.config, DType::kF32);
  for (const std::string& unused : check_tensors(input.spec, *input.source))
    warn_line("{}: {} is not used", location.name, unused);
  return input;
}

std::string shared_content_hash(Job& job, const TensorSource& source) {
  constexpr std::size_t kDigits = 32;
  const std::vector<HashRange> ranges = source.hash_ranges();
  const auto ranks = static_cast<std::size_t>(job.world.size());
  std::string mine;
  collectively(job.world, [&] {
    for (auto i = static_cast<std::size_t>(job.world.rank()); i < ranges.size(); i += ranks) mine += source.hash_range(ranges[i]);
  });
  const std::vector<std::string> by_rank = all_gather_strings(job.world, mine);
  std::vector<std::string> hashes;
  for (std::size_t i = 0; i < ranges.size(); ++i) hashes.push_back(by_rank[i % ranks].substr(i / ranks * kDigits, kDigits));
  return source.combine_hashes(hashes);
}

}  // namespace mpiquant
