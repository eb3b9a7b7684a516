#include "src/plan/sbatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mpiquant {
namespace {

constexpr double kTimeMargin = 1.5;
constexpr double kStartSeconds = 600;   // tokenizing, starting up
constexpr int kNoticeSeconds = 600;     // between the signal and the end
constexpr double kMemoryMargin = 1.25;  // page cache of files being written, what a launcher needs
// Of a rank on a GPU: program and libraries; the next layer as it is read and shared, codes and files on their way, each in
// layers at work.
constexpr double kGPUHostBytes = 6e9;
constexpr double kGPUHostLayers = 4;

std::string time_limit(double seconds) {
  const auto minutes = static_cast<std::int64_t>(std::ceil(seconds / 60));
  return fmt::format("{}-{:02}:{:02}:00", minutes / 1440, minutes / 60 % 24, minutes % 60);
}

}  // namespace

std::string sbatch_script(const PlanSummary& summary, const Machine& machine, const std::string& command) {
  const MemoryUse& most = summary.memory[neediest(summary)];
  const double per_rank =
      kMemoryMargin * (machine.accelerated ? kGPUHostBytes + kGPUHostLayers * static_cast<double>(most.weights) +
                                                 static_cast<double>(most.hidden + most.inputs)
                                           : static_cast<double>(most.total()));
  const auto mib = static_cast<std::int64_t>(std::ceil(per_rank * summary.per_node / (1 << 20)));
  const double seconds = kTimeMargin * summary.estimate.seconds + kStartSeconds + kNoticeSeconds;
  std::string out = "#!/usr/bin/env bash\n#SBATCH --job-name=mpiquant\n#SBATCH --output=%x-%j.log\n";
  out += fmt::format("#SBATCH --nodes={}\n#SBATCH --ntasks-per-node={}\n#SBATCH --cpus-per-task={}\n", summary.nodes,
                     summary.per_node, summary.threads);
  if (machine.accelerated) out += fmt::format("#SBATCH --gpus-per-node={}\n#SBATCH --gpu-bind=none\n", summary.per_node);
  out += fmt::format("#SBATCH --mem={}M\n#SBATCH --time={}\n", mib, time_limit(seconds));
  out += fmt::format("#SBATCH --signal=B:USR2@{}\n#SBATCH --requeue\n#SBATCH --open-mode=append\n", kNoticeSeconds);
  out += fmt::format("# {}, {}: {:.0f} s planned on {}\n", summary.model,
                     summary.plan_hash.empty() ? "by shape" : summary.plan_hash.substr(0, 12), summary.estimate.seconds,
                     summary.machine);
  return out + command;
}

}  // namespace mpiquant
