#include <malloc.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <new>
#include <thread>

#include "launch/command.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/comm/collectives.h"
#include "src/comm/mpi_comm.h"
#include "src/run/identity.h"
#include "src/run/terminal_text.h"

namespace {

using namespace mpiquant;

// In which it ends the job, so that its error is printed once.
constexpr std::chrono::seconds kForTheOneThatSpeaks{5};

std::string usage() {
  std::string text = fmt::format(
      "mpiquant {} quantizes large language models on one machine or many.\n\nusage: mpiquant COMMAND [OPTIONS]\n\n", version());
  for (const Command& command : commands()) text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  text += "\nmpiquant COMMAND --help describes a command. Start it under mpirun or srun to use several ranks.\n";
  return text;
}

// Messages quote file names and content, which may hold anything.
void print_error(const std::string& message) { std::cerr << "mpiquant: error: " << printable(message) << std::endl; }

// Of what rank 0 finds, errors of its node alone: what all ranks see alike is found there first.
bool names_rank(const AgreedError& error, const Communicator& world) {
  return world.size() > 1 && (error.rank() != 0 || error.code() == ExitCode::kEnvironment);
}

int run(int argc, char** argv, bool& several_ranks) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  MpiSession session;
  const auto world = session.world();
  several_ranks = world->size() > 1;
  try {
    if (arguments.empty() || arguments.front() == "--help" || arguments.front() == "-h") {
      if (world->rank() == 0) (arguments.empty() ? std::cerr : std::cout) << usage();
      return static_cast<int>(arguments.empty() ? ExitCode::kUsage : ExitCode::kDone);
    }
    if (arguments.front() == "--version") {
      if (world->rank() == 0) std::cout << fmt::format("mpiquant {} (MPI: {})\n", version(), mpi_version());
      return 0;
    }
    // Before anything else: other versions may not even take part in the same collectives.
    require_same(*world, {{"program version", std::string(version())}});
    CommandContext context{{arguments.begin() + 1, arguments.end()}, *world};
    std::optional<Error> failure;
    const Command* command = nullptr;
    failure = attempt([&] { command = &find_command(arguments.front()); });
    agree(*world, failure);
    command->run(context);
    agree(*world, attempt([] {
      check(!!std::cout.flush(), ExitCode::kEnvironment,
            "the results could not be written to standard output (what was written there is not whole) free space, or look "
            "at what reads it");
    }));
  } catch (const AgreedError& error) {
    // Some of the ranks, such as a stage: the others know nothing of it and are ended with them.
    if (error.ranks() < world->size()) {
      if (!error.is_mine()) std::this_thread::sleep_for(kForTheOneThatSpeaks);
      throw Error(error.code(), fmt::format("[rank {}] {}", world->rank(), error.what()));
    }
    // Every rank is here with the same error, so all may leave in order.
    if (world->rank() == 0)
      print_error(names_rank(error, *world) ? fmt::format("[rank {}] {}", error.rank(), error.what()) : error.what());
    // mpirun ends the others with the first that leaves: one that was told to stop before has no second signal to spare.
    if (attempt([&] { world->barrier(); }) && world->rank() != 0) std::this_thread::sleep_for(kForTheOneThatSpeaks);
    return static_cast<int>(error.code());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Buffers from this size on go back to the system when freed, so that resident memory is what the plan says. Smaller ones,
  // which the libraries need for each product, are kept.
  constexpr int kReturnedBytes = 512 << 10;
  mallopt(M_MMAP_THRESHOLD, kReturnedBytes);
  mallopt(M_TRIM_THRESHOLD, kReturnedBytes);
  bool several_ranks = false;
  ExitCode code = ExitCode::kInternal;
  try {
    return run(argc, argv, several_ranks);
  } catch (const Error& error) {
    print_error(error.what());
    code = error.code();
  } catch (const std::bad_alloc&) {
    print_error("out of memory (an allocation was refused) use more ranks or a node with more memory");
    code = ExitCode::kEnvironment;
  } catch (const std::filesystem::filesystem_error& error) {
    print_error(fmt::format("{} (it is needed here) check the path and its permissions", error.what()));
    code = ExitCode::kEnvironment;
  } catch (const std::exception& error) {
    print_error(error.what());
  } catch (...) {
    print_error("unknown failure");
  }
  // This rank failed alone: the others are ended with it.
  if (several_ranks) MpiSession::abort(code);
  return static_cast<int>(code);
}
