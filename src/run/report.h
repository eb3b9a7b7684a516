#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "src/base/json.h"
#include "src/run/watchdog.h"

namespace mpiquant {

// What one rank did: seconds of each phase and the work it took, to compare with the plan. Timings never reach an output.
struct RankReport {
  int rank = 0;
  std::map<std::string, double> seconds;
  std::int64_t tokens = 0;  // forwarded, each once a layer
  std::int64_t rows_swept = 0;
  std::int64_t bytes_read = 0;
  std::int64_t bytes_written = 0;
  std::int64_t bytes_summed_at_front = 0;  // of output files, while layers were worked on
  std::int64_t bytes_summed_at_end = 0;    // of them, when all was written
  std::int64_t hessian_bytes = 0;          // handed to the reduction of Hessians
  std::int64_t peak_memory = 0;            // resident bytes
  std::int64_t layers_committed = 0;       // of this rank's stage, by this start of the program
  std::int64_t layers_skipped = 0;         // committed before and not run again
  std::int64_t layers_replayed = 0;        // committed before, run again for their outputs

  Marks marks;  // signs of life of this rank

  Json to_json() const;
};

// Says in the verbose log where a rank is, in the words "rank R: phase P".
void log_phase(int rank, const std::string& phase);

// Adds the time from here to the end of the scope to a phase; both ends are signs of life.
class PhaseTimer {
 public:
  PhaseTimer(RankReport& report, std::string phase) : report_(report), phase_(std::move(phase)) {
    report.marks.mark();
    log_phase(report.rank, phase_);
  }
  ~PhaseTimer() {
    report_.seconds[phase_] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    report_.marks.mark();
  }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  RankReport& report_;
  std::string phase_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Peak of this process's resident memory, bytes.
std::int64_t peak_resident_bytes();

}  // namespace mpiquant
