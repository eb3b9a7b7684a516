#include "src/run/stage_weights.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <vector>

#include "io/file.h"
#include "io/safetensors_source.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/process_id.h"
#include "src/run/fingerprint.h"
#include "src/run/job.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kStepBytes = std::int64_t{1} << 30;  // between two agreements of the ranks, so that none waits too long
constexpr std::int64_t kChunkBytes = std::int64_t{4} << 20;

struct Step {
  std::size_t file;
  std::int64_t begin, end;
};

// The copy's own name: other contents have another one.
std::string copy_name(const ModelInput& model, const std::vector<WeightFile>& originals) {
  const std::string facts = fs::canonical(model.directory).string() + "\n" + stamps(originals);
  std::string name = model.name;
  std::ranges::replace(name, '/', '-');
  return name + "-" + xxh3_hex(facts).substr(0, 16);
}

bool is_whole(const fs::path& copy, const std::vector<WeightFile>& originals) {
  return std::ranges::all_of(originals, [&](const WeightFile& file) {
    const std::string path = (copy / fs::path(file.path).filename()).string();
    return path_kind(path) == PathKind::kFile && File::open_read(path).size() == file.bytes;
  });
}

// The copy that one rank makes.
class Copy {
 public:
  Copy(const fs::path& folder, const std::string& name, const std::vector<WeightFile>& originals)
      : originals_(originals), final_(folder / name) {
    const std::string prefix = fmt::format(".{}.partial-{}-{}-", name, host_name(), xxh3_hex(pid_namespace()).substr(0, 8));
    remove_dead(folder, prefix);
    std::int64_t bytes = 0;
    for (const WeightFile& file : originals_) bytes += file.bytes;
    const auto free = static_cast<std::int64_t>(fs::space(folder).available);
    check(
        bytes <= free, ExitCode::kUsage,
        "the model's weights take {:.2f} GB, and {} on {} has {:.2f} GB free (their copy would not fit) free {:.2f} GB, or leave "
        "--stage-dir away",
        1e-9 * static_cast<double>(bytes), folder.string(), host_name(), 1e-9 * static_cast<double>(free),
        1e-9 * static_cast<double>(bytes - free));
    partial_ = folder / fmt::format("{}{}", prefix, own_process().pid);
    std::error_code error;
    fs::create_directory(partial_, error);
    check(!error, ExitCode::kEnvironment, "cannot create {} ({}) choose a --stage-dir this user may write to", partial_.string(),
          error.message());
    info_line("copying {:.2f} GB of weights to {}", 1e-9 * static_cast<double>(bytes), final_.string());
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy() {
    std::error_code ignored;  // what stays is removed by the next run
    fs::remove_all(partial_, ignored);
  }

  void make(const Step& step) {
    const WeightFile& original = originals_[step.file];
    if (step.begin == 0) {
      from_.emplace(File::open_read(original.path));
      to_.emplace(File::create((partial_ / fs::path(original.path).filename()).string(), original.bytes));
    }
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kChunkBytes, step.end - step.begin)));
    for (std::int64_t at = step.begin; at < step.end; at += kChunkBytes) {
      const std::span<std::byte> piece(buffer.data(), static_cast<std::size_t>(std::min(kChunkBytes, step.end - at)));
      from_->read_at(at, piece);
      to_->write_at(at, piece);
    }
    if (step.end < original.bytes) return;
    to_->sync();
    to_->close();
  }

  void publish() {
    sync_directory(partial_.string());
    std::error_code error;
    fs::rename(partial_, final_, error);
    // Another job on this node may have been as fast, and its copy is the same.
    check(!error || is_whole(final_, originals_), ExitCode::kEnvironment, "cannot rename {} to {} ({}) remove it by hand",
          partial_.string(), final_.string(), error.message());
  }

 private:
  // What processes that were killed have left.
  static void remove_dead(const fs::path& folder, const std::string& prefix) {
    for (const std::string& name : list_directory(folder.string())) {
      if (!name.starts_with(prefix)) continue;
      pid_t pid = 0;
      std::from_chars(name.data() + prefix.size(), name.data() + name.size(), pid);
      std::error_code ignored;
      if (pid > 0 && (pid == own_process().pid || !alive(process_of(pid)))) fs::remove_all(folder / name, ignored);
    }
  }

  const std::vector<WeightFile>& originals_;
  fs::path final_, partial_;
  std::optional<File> from_, to_;
};

}  // namespace

void stage_weights(Communicator& world, ModelInput& model, const std::string& folder) {
  const std::vector<std::string> hosts = all_gather_strings(world, host_name());
  const auto first = std::ranges::find(hosts, hosts[static_cast<std::size_t>(world.rank())]) - hosts.begin();
  std::vector<WeightFile> originals;
  std::vector<Step> steps;
  fs::path place;
  std::optional<Copy> copy;
  collectively(world, [&] {
    originals = weight_files(model);
    for (std::size_t f = 0; f < originals.size(); ++f)
      for (std::int64_t at = 0; at < originals[f].bytes; at += kStepBytes)
        steps.push_back({f, at, std::min(at + kStepBytes, originals[f].bytes)});
    const std::string name = copy_name(model, originals);
    place = fs::path(folder) / name;
    if (first != world.rank()) return;
    std::error_code error;
    fs::create_directories(folder, error);
    check(!error, ExitCode::kEnvironment, "cannot create {} on {} ({}) choose a --stage-dir this user may write to", folder,
          host_name(), error.message());
    if (!is_whole(place, originals)) copy.emplace(folder, name, originals);
  });
  // Ranks whose node has a copy come along.
  const auto most = max_over(world, static_cast<std::int64_t>(steps.size()));
  for (std::size_t step = 0; step < static_cast<std::size_t>(most); ++step)
    collectively(world, [&] {
      if (copy && step < steps.size()) copy->make(steps[step]);
    });
  collectively(world, [&] {
    if (copy) copy->publish();
  });
  collectively(world, [&] { model.source = std::make_unique<SafetensorsSource>(place.string()); });
}

}  // namespace mpiquant
