#include "src/comm/thread_comm.h"

#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/comm/mailbox_comm.h"

namespace mpiquant {

void run_on_threads(int ranks, const std::function<void(Communicator&)>& body, const CommOptions& options) {
  expect(ranks >= 1, "a group of {} threads", ranks);
  const auto mailbox = std::make_shared<Mailbox>();
  std::mutex mutex;
  std::exception_ptr first;
  const auto run = [&](int rank) {
    try {
      MailboxComm comm(mailbox, {0, rank, ranks}, options);
      body(comm);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
      mailbox->close(fmt::format("rank {} ended with an error", rank));
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < ranks; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace mpiquant
