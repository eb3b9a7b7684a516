#include "src/fleet/job_key.h"

#include <sys/stat.h>

#include <filesystem>

#include "io/file.h"
#include "io/hf_cache.h"
#include "io/shared_file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/version.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMissing = "missing";

// Options with, in the place of a value that is a file, its content.
Json contents(const FleetOptions& options, const InputHashes& hashes) {
  Json out = Json::object();
  for (const auto& [name, values] : options) {
    Json list = Json::array();
    // A token store is made by the first run that names it, from inputs that are in the key already.
    for (const std::string& value : values)
      list.push_back(name != "token-store" && path_kind(value) == PathKind::kFile ? hashes.file(value) : value);
    out[name] = std::move(list);
  }
  return out;
}

}  // namespace

std::string InputHashes::file(const std::string& path) const {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return kMissing;
  std::error_code failed;
  const fs::path target = fs::read_symlink(path, failed);
  if (!failed && target.parent_path().filename() == "blobs") return "blob " + target.filename().string();
  const std::string absolute = fs::absolute(path).lexically_normal().string();
  const Json stamp = {{"path", absolute},
                      {"size", static_cast<std::int64_t>(facts.st_size)},
                      {"seconds", static_cast<std::int64_t>(facts.st_mtim.tv_sec)},
                      {"nanoseconds", static_cast<std::int64_t>(facts.st_mtim.tv_nsec)}};
  const std::string kept = folder_ + "/" + xxh3_hex(absolute) + ".json";
  if (const std::optional<Json> known = read_state(kept); known && known->value("stamp", Json()) == stamp)
    return known->at("hash").get<std::string>();
  const std::string hash = hash_file_xxh3(path);
  if (keeps_) replace_shared_file(kept, Json{{"stamp", stamp}, {"hash", hash}}.dump());
  return hash;
}

std::string InputHashes::model(const std::string& argument) const {
  std::string directory;
  try {
    directory = resolve_model(argument).directory;
  } catch (const Error&) {
    return kMissing;  // the job itself says what is wrong
  }
  std::string all;
  for (const std::string& name : list_directory(directory)) {
    const std::string path = directory + "/" + name;
    if (path_kind(path) == PathKind::kFile) all += name + " " + file(path) + "\n";
  }
  return xxh3_hex(all);
}

std::string job_key(const FleetJob& job, const InputHashes& hashes) {
  const FleetSettings& settings = job.settings;
  Json key = {{"version", version()},
              {"model", hashes.model(job.model)},
              {"config", settings.config.empty() ? "" : hashes.file(settings.config)},
              {"options", contents(settings.options, hashes)},
              {"evaluate", settings.evaluate ? contents(*settings.evaluate, hashes) : Json()}};
  return xxh3_hex(key.dump());
}

}  // namespace mpiquant
