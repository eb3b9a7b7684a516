#include "launch/stop_signals.h"

#include <unistd.h>

#include <csignal>

#include "src/base/error.h"

namespace mpiquant {
namespace {

volatile std::sig_atomic_t came = 0;  // a signal handler can reach nothing else

extern "C" void on_stop_signal(int) {
  if (came != 0) _exit(static_cast<int>(ExitCode::kStopped));
  came = 1;
}

}  // namespace

void watch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGUSR2, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool stop_signal_came() { return came != 0; }

}  // namespace mpiquant
