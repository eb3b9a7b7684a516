#include "src/run/gates.h"

#include <set>

#include "src/base/error.h"

namespace mpiquant {
namespace {

void check_gate(const char* name, const char* what, std::int64_t count, const std::optional<std::int64_t>& limit) {
  check(!limit || count <= *limit, ExitCode::kGate,
        "{} {}, and the gate {} allows {} (they are listed above) nothing was published: change what caused them, or raise the "
        "gate",
        count, what, name, limit.value_or(0));
}

}  // namespace

void check_gates(const Gates& gates, const std::vector<std::string>& fallbacks, const std::vector<TensorRecord>& records) {
  std::int64_t retries = 0;
  std::int64_t clipped = 0;
  std::set<std::string> counted;  // codecs of one linear share its factor
  for (const TensorRecord& record : records) {
    clipped += record.scale_underflows + record.scale_overflows;
    if (counted.insert(record.module).second) retries += record.damp_retries;
  }
  check_gate("max_fallbacks", "fallbacks", static_cast<std::int64_t>(fallbacks.size()), gates.max_fallbacks);
  check_gate("max_damping_retries", "retries with more damping", retries, gates.max_damping_retries);
  check_gate("max_clipped_scales", "clipped scales", clipped, gates.max_clipped_scales);
}

}  // namespace mpiquant
