#include "launch/setup.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <optional>
#include <string>

#include "launch/command.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/process_id.h"
#include "src/comm/collectives.h"
#include "src/comm/launch_env.h"

namespace mpiquant {

OptionGroup common_group() {
  OptionGroup group{"General", {}};
  group.options.add_options()  //
      ("threads", options::value<int>()->value_name("T"),
       "threads of each rank (default: OMP_NUM_THREADS, else its share of the cores)")  //
      ("quiet,q", options::bool_switch(), "print warnings and errors only")             //
      ("verbose,v", options::bool_switch(), "print more, from every rank")              //
      ("help,h", options::bool_switch(), "print this page");
  return group;
}

void apply_common(const options::variables_map& values, int rank) {
  Verbosity verbosity = Verbosity::kNormal;
  if (values["quiet"].as<bool>()) verbosity = Verbosity::kQuiet;
  check(!(values["quiet"].as<bool>() && values["verbose"].as<bool>()), ExitCode::kUsage,
        "--quiet and --verbose are both given (they contradict each other) keep one");
  if (values["verbose"].as<bool>()) verbosity = Verbosity::kVerbose;
  start_logging(verbosity, rank);
}

int thread_count(const options::variables_map& values, Communicator& world) {
  const std::string host = host_name();
  const std::vector<std::string> hosts = all_gather_strings(world, host);
  const auto neighbours = std::count(hosts.begin(), hosts.end(), host);
  if (values.count("threads") != 0) {
    const int threads = values["threads"].as<int>();
    check(threads >= 1 && threads <= 4096, ExitCode::kUsage,
          "--threads {} (a rank has at least one thread) give a number from 1 to 4096", threads);
    return threads;
  }
  // What the launchers set; of a list of nested levels the first number counts.
  if (const std::optional<std::string> given = process_env("OMP_NUM_THREADS")) {
    int threads = 0;
    std::from_chars(given->data(), given->data() + given->size(), threads);
    if (threads >= 1 && threads <= 4096) return threads;
  }
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  const int allowed = CPU_COUNT(&cores);
  // Ranks that the launcher bound to cores of their own see only those; unbound ranks share what they see.
  const bool bound = allowed < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  return std::max(1, bound ? allowed : allowed / static_cast<int>(neighbours));
}

bool help_wanted(const options::variables_map& values, const std::string& command, const CommandPage& page, int rank) {
  if (!values["help"].as<bool>()) return false;
  if (rank == 0) std::cout << help_text(command, find_command(command).summary, page);
  return true;
}

}  // namespace mpiquant
