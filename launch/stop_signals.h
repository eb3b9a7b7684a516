#pragma once

namespace mpiquant {

// From here on SIGUSR2 and SIGTERM ask for a stop in order (exit code 75); a second one ends the process at once with that code:
// what is committed is durable, and nothing else is needed to go on.
void watch_stop_signals();
// True once one has come.
bool stop_signal_came();

}  // namespace mpiquant
