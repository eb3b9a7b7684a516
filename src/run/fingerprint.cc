#include "src/run/fingerprint.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "io/safetensors_source.h"
#include "src/base/hash.h"
#include "src/comm/collectives.h"
#include "src/run/identity.h"
#include "src/run/job.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeightsIndex = "model.safetensors.index.json";
constexpr std::int64_t kPieceBytes = 4096;

std::string facts_of(const TensorEntry& entry) {
  return fmt::format("{}:{} {} [{}]\n", entry.name.size(), entry.name, entry.dtype_name, fmt::join(entry.shape, ","));
}

void hash_piece(Xxh3& hash, const TensorSource& source, const TensorEntry& entry, std::int64_t offset) {
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(entry.bytes - offset, kPieceBytes)));
  source.read_raw(entry.name, offset, piece);
  hash.update(piece);
}

std::int64_t middle_piece(const TensorEntry& entry) { return (entry.bytes - std::min(entry.bytes, kPieceBytes)) / 2; }

std::string sampled_content(const ModelInput& model) {
  constexpr std::size_t kTensors = 512;  // spread over all of them
  const fs::path config = fs::path(model.directory) / "config.json";
  std::string facts = fs::is_regular_file(config) ? hash_file_xxh3(config.string()) : "";
  const std::span<const TensorEntry> entries = model.source->entries();
  const std::size_t step = std::max<std::size_t>(entries.size() / kTensors, 1);
  Xxh3 hash;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    facts += facts_of(entries[i]);
    if (i % step == 0) hash_piece(hash, *model.source, entries[i], middle_piece(entries[i]));
  }
  hash.update(std::as_bytes(std::span(facts)));
  return hash.hex();
}

std::string tensor_fingerprint(const TensorSource& source, const TensorEntry& entry) {
  Xxh3 hash;
  hash_piece(hash, source, entry, 0);
  if (entry.bytes > kPieceBytes) hash_piece(hash, source, entry, entry.bytes - std::min(entry.bytes - kPieceBytes, kPieceBytes));
  if (entry.bytes > 2 * kPieceBytes) hash_piece(hash, source, entry, middle_piece(entry));
  return hash.hex();
}

}  // namespace

void require_same_files(Communicator& world, const ModelInput& model) {
  std::string mine;
  collectively(world, [&] { mine = sampled_content(model); });
  require_same(world, {{"content of the model's files", mine}});
}

std::string model_fingerprint(Communicator& world, const TensorSource& source) {
  const std::span<const TensorEntry> entries = source.entries();
  const auto ranks = static_cast<std::size_t>(world.size()), rank = static_cast<std::size_t>(world.rank());
  std::string mine;
  collectively(world, [&] {
    for (std::size_t i = rank; i < entries.size(); i += ranks) mine += tensor_fingerprint(source, entries[i]);
  });
  const std::vector<std::string> by_rank = all_gather_strings(world, mine);
  constexpr std::size_t kDigits = 32;
  std::string all;
  for (std::size_t i = 0; i < entries.size(); ++i)
    all += facts_of(entries[i]) + by_rank[i % ranks].substr(i / ranks * kDigits, kDigits) + "\n";
  return xxh3_hex(all);
}

std::vector<WeightFile> weight_files(const ModelInput& model) {
  std::vector<std::string> paths = SafetensorsSource(model.directory).files();
  const fs::path index = fs::path(model.directory) / kWeightsIndex;
  if (fs::is_regular_file(index)) paths.push_back(index.string());
  std::vector<WeightFile> files;
  for (const std::string& path : paths)
    files.push_back({path, File::open_read(path).size(), fs::last_write_time(path).time_since_epoch().count()});
  return files;
}

std::string stamps(const std::vector<WeightFile>& files) {
  std::string out;
  for (const WeightFile& file : files)
    out += fmt::format("{} {} {}\n", fs::path(file.path).filename().string(), file.bytes, file.modified);
  return out;
}

}  // namespace mpiquant
