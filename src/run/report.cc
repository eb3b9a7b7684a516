#include "src/run/report.h"

#include <sys/resource.h>

#include "src/base/log.h"

namespace mpiquant {

Json RankReport::to_json() const {
  Json phases = Json::object();
  for (const auto& [phase, value] : seconds) phases[phase] = value;
  return {{"seconds", phases},
          {"tokens", tokens},
          {"rows_swept", rows_swept},
          {"bytes_read", bytes_read},
          {"bytes_written", bytes_written},
          {"bytes_summed_at_front", bytes_summed_at_front},
          {"bytes_summed_at_end", bytes_summed_at_end},
          {"hessian_bytes", hessian_bytes},
          {"peak_memory", peak_memory},
          {"layers_committed", layers_committed},
          {"layers_skipped", layers_skipped},
          {"layers_replayed", layers_replayed}};
}

void log_phase(int rank, const std::string& phase) { log_debug(fmt::format("rank {}: phase {}", rank, phase)); }

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace mpiquant
