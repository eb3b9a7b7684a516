#include "src/run/run_state.h"

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/log.h"

namespace mpiquant {

namespace fs = std::filesystem;

namespace {

// In which the last processes of a job whose launcher has returned are gone.
constexpr std::chrono::seconds kPatience{15};

std::string whole_path(const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(fs::absolute(path), error);
  return error ? path : whole.string();
}

void create_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  check(!error, ExitCode::kEnvironment, "cannot create {} ({}) choose a place this user may write to", folder, error.message());
}

// After an error, which must not be replaced by another; others may be writing there.
void remove_quietly(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

bool can_be_resumed(ExitCode code) { return code == ExitCode::kEnvironment || code == ExitCode::kStopped; }

}  // namespace

RunState::RunState(const QuantizeRequest& request, const std::string& fingerprint)
    : request_(request),
      own_place_(whole_path(default_work_dir(request.output))),
      id_(xxh3_hex(fingerprint + whole_path(request.work_dir)).substr(0, 8)),
      checkpoint_(request.work_dir + "/checkpoint") {}

RunState::~RunState() {
  staged_.reset();
  give_back();
}

void RunState::give_back() {
  lease_.reset();
  if (!output_lease_) return;
  output_lease_.reset();
  remove_if_empty(own_place_);
}

void RunState::check_kernel_sets(const std::string& kernels) const {
  for (const auto& [layer, sets] : checkpoint_.state().kernels) {
    if (sets == kernels) continue;
    check(request_.allow_mixed, ExitCode::kUsage,
          "kernel set differs from that of the run which was interrupted (the output would depend on what was done where: layer "
          "{} by "
          "\"{}\", now \"{}\") start on nodes of the same kind, accept both with --allow-mixed, or discard the work in {} with "
          "--restart "
          "never",
          layer, sets, kernels, checkpoint_.folder());
    return warn_line("layers that are done were made by another kernel set (--allow-mixed): {}", sets);
  }
}

std::string RunState::open(const Identity& identity, const std::string& kernels) {
  create_folder(request_.work_dir);
  lease_.emplace(request_.work_dir, request_.force, kPatience);
  if (own_place_ != whole_path(request_.work_dir)) {
    create_folder(own_place_);
    output_lease_.emplace(own_place_, request_.force, kPatience);
  }
  checkpoint_.check_own();
  const auto left = request_.restart == Restart::kNever ? std::nullopt : checkpoint_.identity();
  check(left || request_.restart != Restart::kRequire, ExitCode::kUsage,
        "there is nothing to go on with in {} (--restart require asks for it) use --restart auto", checkpoint_.folder());
  if (left) {
    const auto field = difference(*left, identity);
    check(!field, ExitCode::kUsage,
          "{} differs from that of the run which was interrupted (its work in {} cannot be used) give the same again, or "
          "--restart never to discard it",
          *field, checkpoint_.folder());
    check_kernel_sets(kernels);
  }
  resumes_ = left.has_value();
  staged_.emplace(resumes_ ? StagedDirectory::resume(request_.output, request_.force, id_)
                           : StagedDirectory::create(request_.output, request_.force, id_));
  staged_->keep(resumes_);
  return staged_->path();
}

Checkpoint::State RunState::prepare(const OutputFiles& files, const std::vector<fs::path>& folders, const Identity& identity) {
  if (resumes_ && files.complete()) return checkpoint_.state();
  if (resumes_) warn_line("{} lacks files that the checkpoint speaks of: all is made anew", staged_->path());
  checkpoint_.remove();  // it would speak of files that are empty
  for (const fs::path& folder : folders) fs::create_directories(folder);
  files.create();
  checkpoint_.begin(identity);
  staged_->keep(true);
  return {};
}

void RunState::publish() {
  staged_->publish();
  checkpoint_.remove();
}

void RunState::leave(ExitCode code) {
  const bool resumable = can_be_resumed(code);
  const bool kept = (resumable || resumes_) && checkpoint_.has_layers();
  if (staged_) {
    if (!kept) remove_quietly(checkpoint_.folder());
    staged_->keep(kept);
    staged_.reset();
  }
  give_back();  // last: who waits for the lease begins at once
  if (kept)
    return info_line("what was done is kept in {}{}", checkpoint_.folder(),
                     resumable ? ": the same command goes on from there" : "");
  remove_if_empty(request_.work_dir);
}

void RunState::leave_for_all(ExitCode code, const std::string& partial) const {
  if (can_be_resumed(code)) return;
  remove_quietly(partial);
  remove_quietly(checkpoint_.folder());
  for (const std::string& folder : {request_.work_dir, own_place_}) {
    Lease::remove_all(folder);
    remove_if_empty(folder);
  }
}

}  // namespace mpiquant
