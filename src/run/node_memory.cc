#include "src/run/node_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "src/base/log.h"
#include "src/base/process_id.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// A number in a file of the system; nothing when there is none, or it says "max".
std::optional<double> number_in(const std::string& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

}  // namespace

void check_memory(Job& job, const Plan& plan) {
  const std::string here = host_name();
  const std::vector<std::string> hosts = all_gather_strings(job.world, here);
  double needed = 0;
  int ranks = 0;
  for (std::size_t r = 0; r < hosts.size(); ++r) {
    if (hosts[r] != here) continue;
    needed += static_cast<double>(plan.costs[r].memory);
    ++ranks;
  }
  constexpr double kGB = 1e9;
  collectively(job.world, [&] {
    const double available = available_memory();
    check(needed <= available, ExitCode::kUsage,
          "{} needs {:.2f} GB for {} ranks and has {:.2f} GB available: {:.2f} GB too little (the run would be killed) use more "
          "nodes, fewer "
          "or shorter samples, or see mpiquant plan",
          here, needed / kGB, ranks, available / kGB, (needed - available) / kGB);
    if (job.backend.space() != MemSpace::kDevice) return;
    // The buffers of a device come on top of the host's memory.
    const RankCost& cost = plan.costs[static_cast<std::size_t>(job.world.rank())];
    job.states_on_host = !plan.units.empty() && !job.backend.has_room(static_cast<std::size_t>(cost.device_memory));
    const std::int64_t bytes = job.states_on_host ? cost.device_memory_of_work : cost.device_memory;
    job.backend.reserve(static_cast<std::size_t>(bytes));
    if (job.states_on_host)
      info_line("rank {}: the GPU has no room for {:.2f} GB, so the hidden states of the calibration stay in the host's memory",
                job.world.rank(), static_cast<double>(cost.device_memory) / kGB);
  });
}

double available_memory() {
  double bytes = 1e18;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:")) bytes = std::stod(line.substr(line.find(':') + 1)) * 1024;  // counted in KiB
  // The limit of the control group that the process is in, or of one of its parents as a container sees them.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const bool unified = line.starts_with("0::");
    if (!unified && line.find(":memory:") == std::string::npos) continue;
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* limit_name = unified ? "/memory.max" : "/memory.limit_in_bytes";
    const char* used_name = unified ? "/memory.current" : "/memory.usage_in_bytes";
    for (fs::path at = line.substr(line.rfind(':') + 1);; at = at.parent_path()) {
      const std::string folder = root + (at == "/" ? "" : at.string());
      const auto limit = number_in(folder + limit_name), used = number_in(folder + used_name);
      if (limit && used) {
        // Page cache counts as used but is given back.
        double cache = 0;
        std::ifstream stat(folder + "/memory.stat");
        for (std::string key; stat >> key;) {
          double value = 0;
          stat >> value;
          if (key == "inactive_file" || key == "active_file") cache += value;
        }
        bytes = std::min(bytes, std::max(0.0, *limit - std::max(0.0, *used - cache)));
      }
      if (at == "/" || at.empty()) break;
    }
  }
  return bytes;
}

}  // namespace mpiquant
