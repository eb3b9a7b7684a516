#include "src/run/committer.h"

#include <array>
#include <filesystem>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/run/codes_file.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr double kAssumedBytesPerSecond = 500e6;  // of a first snapshot

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Committer::Committer(Job& job, const Checkpoint& checkpoint, OutputFiles& files, const CommitOptions& options, std::int64_t first,
                     RankReport& report)
    : job_(job), checkpoint_(checkpoint), files_(files), options_(options), first_(first), report_(report) {}

Committer::~Committer() {
  if (syncing_.valid()) syncing_.wait();
}

std::string Committer::local_path(const std::string& name) const {
  // Outputs that share a node's folder have a folder each in it.
  return (fs::path(options_.local_dir) / xxh3_hex(checkpoint_.folder()).substr(0, 8) / name).string();
}

Committer::StateFile Committer::make_file(const std::string& name) const {
  if (options_.local_dir.empty()) return {name, Hdf5Writer(checkpoint_.path(name))};
  std::error_code error;
  fs::create_directories(fs::path(local_path(name)).parent_path(), error);
  check(!error, ExitCode::kEnvironment, "cannot create a folder in {} ({}) choose another --checkpoint-dir", options_.local_dir,
        error.message());
  return {name, Hdf5Writer(local_path(name))};
}

void Committer::publish(StateFile file) const {
  file.writer.publish();
  if (options_.local_dir.empty()) return;
  const std::string local = local_path(file.name);
  const std::string shared = checkpoint_.path(file.name);
  std::error_code error;
  fs::copy_file(local, shared + ".partial", fs::copy_options::overwrite_existing, error);
  check(!error, ExitCode::kEnvironment, "cannot copy {} to {} ({}) check the file system and resume", local, shared,
        error.message());
  File copy = File::open_write(shared + ".partial");
  copy.sync();
  copy.close();
  rename_into_place(shared + ".partial", shared);
  fs::remove(local, error);  // what stays is overwritten by the next run of this output
}

void Committer::keep_codes(std::int64_t layer, const std::string& module, const EncodedLinear& linear) {
  if (!codes_) codes_.emplace(make_file(Checkpoint::codes_name(layer, job_.world.rank())));
  write_codes(codes_->writer, module, linear);
}

bool Committer::snapshot_due(std::int64_t bytes) const {
  const double cost = snapshot_seconds_ > 0 ? snapshot_seconds_ : static_cast<double>(bytes) / kAssumedBytesPerSecond;
  return seconds_since(last_snapshot_) * options_.overhead >= cost;
}

std::vector<TensorRecord> Committer::layer_done(std::int64_t layer, const std::vector<TensorRecord>& records,
                                                const std::map<std::string, std::string>& codes,
                                                const std::optional<Hidden>& hidden) {
  Communicator& group = *job_.grid.group;
  finish();
  const PhaseTimer timer(report_, "checkpoint");
  std::int64_t bytes = 0;
  if (hidden)
    for (const HiddenState& state : hidden->states)
      bytes += state.unit->tokens * hidden->width * static_cast<std::int64_t>(sizeof(float));
  // Any replica's wish to stop, and any replica's wish to wait with the snapshot, are everybody's.
  const bool stop_here = options_.stop_wanted && options_.stop_wanted();
  std::array<std::int64_t, 2> wishes{stop_here ? 1 : 0, snapshot_due(bytes) ? 0 : 1};
  group.all_reduce_max(std::span<std::int64_t>(wishes));
  const bool stop = wishes[0] != 0;
  const bool snapshot = hidden && (stop || wishes[1] == 0);
  std::vector<HiddenRows> copies;
  collectively(group, [&] {
    if (!snapshot) return;
    last_snapshot_ = Clock::now();
    copies = copy_hidden(job_.backend, hidden->states, hidden->width);
    copy_seconds_ = seconds_since(last_snapshot_);
  });
  const std::vector<TensorRecord> all = gather_records(group, records);
  Line line{layer, all, codes, std::nullopt};
  if (snapshot) line.hidden = hidden->all_files;
  collectively(group, [&] { begin(std::move(line), std::move(copies), hidden ? hidden->width : 0); });
  if (!stop) return all;
  finish();
  agree(group, Error(ExitCode::kStopped, "stopped on request after a layer; the same command goes on from there"));
  return all;
}

void Committer::begin(Line line, std::vector<HiddenRows> hidden, std::int64_t width) {
  if (codes_) codes_->writer.close();
  const std::int64_t layer = line.layer;
  line_ = std::move(line);
  syncing_ =
      std::async(std::launch::async, [this, layer, width, hidden = std::move(hidden), files = files_.open_files(),
                                      codes = std::exchange(codes_, std::nullopt), kept = std::exchange(kept_, {})]() mutable {
        for (File* file : files) file->sync();
        for (Hdf5Writer& file : kept) file.publish();
        if (codes) publish(std::move(*codes));
        const Clock::time_point start = Clock::now();
        if (!hidden.empty()) {
          StateFile file = make_file(Checkpoint::hidden_name(layer + 1, job_.world.rank()));
          write_hidden(file.writer, std::move(hidden), width);
          file.writer.close();
          publish(std::move(file));
        }
        const double took = seconds_since(start);
        files_.sums().advance();
        return took;
      });
}

void Committer::finish() {
  if (!line_) return;
  const PhaseTimer timer(report_, "checkpoint");
  Communicator& group = *job_.grid.group;
  const Line line = *std::exchange(line_, std::nullopt);
  collectively(group, [&] {
    const double took = syncing_.get();
    if (line.hidden) snapshot_seconds_ = copy_seconds_ + took;
  });
  std::map<std::string, std::string> sums;
  for (const std::string& text : all_gather_strings(group, Json(files_.sums().save()).dump()))
    sums.merge(Json::parse(text).get<std::map<std::string, std::string>>());
  const PhaseTimer commit_timer(report_, "commit");
  collectively(group, [&] {
    if (group.rank() != 0) return;
    checkpoint_.commit_layer(line.layer, line.records, line.codes, sums, options_.kernels);
    if (line.hidden) checkpoint_.commit_hidden(line.layer + 1, *line.hidden, first_);
  });
  files_.sums().layer_durable(line.layer);
  ++report_.layers_committed;
}

}  // namespace mpiquant
