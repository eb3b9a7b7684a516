#pragma once

#include <string>
#include <utility>

#include "src/run/job.h"
#include "src/run/report.h"

namespace mpiquant {

// collectively(), with the work counted under a phase and what the others take longer under "wait".
template <typename Work>
void timed_collectively(Communicator& comm, RankReport& report, const std::string& phase, Work&& work) {
  const auto failure = [&] {
    const PhaseTimer timer(report, phase);
    return attempt(std::forward<Work>(work));
  }();
  const PhaseTimer timer(report, "wait");
  agree(comm, failure);
}

}  // namespace mpiquant
