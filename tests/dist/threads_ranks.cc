#include <gtest/gtest.h>

#include <string>

#include "src/comm/thread_comm.h"
#include "tests/dist/ranks.h"

namespace mpiquant {

void on_ranks(const std::function<void(Communicator&)>& body, const CommOptions& options) {
  for (const int ranks : {1, 2, 3, 4, 8}) {
    SCOPED_TRACE(std::to_string(ranks) + " threads");
    run_on_threads(ranks, body, options);
  }
}

}  // namespace mpiquant
