#include "src/fleet/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

#include "src/base/environment.h"
#include "src/base/error.h"

extern char** environ;

namespace mpiquant {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }
  void close() {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
  }

 private:
  int value_;
};

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  check(::pipe2(ends.data(), O_CLOEXEC) == 0, ExitCode::kEnvironment, "no pipe can be opened: {}", std::strerror(errno));
  return ends;
}

enum class Group : std::uint8_t { kOwn, kOfThisProcess };

// Starts a command with the given standard descriptors in a process group, with no signal blocked.
pid_t spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment, int in, int out, int errors,
            Group group = Group::kOwn) {
  const auto pointers = [](const std::vector<std::string>& words) {
    std::vector<char*> list;
    for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
    list.push_back(nullptr);
    return list;
  };
  const std::vector<char*> arguments = pointers(command);
  const std::vector<char*> variables = pointers(environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  // In this process's group what it ignores stays ignored, as the hang-up of a terminal under nohup.
  posix_spawnattr_setflags(&attributes, group == Group::kOwn
                                            ? POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP
                                            : POSIX_SPAWN_SETSIGMASK);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  check(error == 0, ExitCode::kEnvironment, "{} cannot be started: {}", command[0], std::strerror(error));
  return child;
}

Descriptor open_nothing() {
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  check(nothing >= 0, ExitCode::kEnvironment, "/dev/null cannot be opened: {}", std::strerror(errno));
  return Descriptor(nothing);
}

// The exit status, or 128 + signal.
int wait_for(pid_t child, const std::string& name) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    check(errno == EINTR, ExitCode::kEnvironment, "waiting for {} failed: {}", name, std::strerror(errno));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool looks_secret(std::string_view name) {
  constexpr std::array<std::string_view, 6> kEnds = {"TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIALS"};
  return std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) { return name.ends_with(end); });
}

std::vector<std::string> own_environment(const std::function<bool(std::string_view)>& keeps) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (keeps(text.substr(0, text.find('=')))) out.emplace_back(text);
  }
  return out;
}

}  // namespace

std::vector<std::string> job_environment(const std::map<std::string, std::string>& more) {
  std::vector<std::string> out =
      own_environment([&](std::string_view name) { return !looks_secret(name) && more.count(std::string(name)) == 0; });
  for (const auto& [name, value] : more) out.push_back(name + "=" + value);
  return out;
}

std::vector<std::string> environment_without(const std::vector<std::string_view>& names) {
  return own_environment([&](std::string_view name) { return std::ranges::find(names, name) == names.end(); });
}

HeldProcess::HeldProcess(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                         const std::string& log) {
  const auto ends = make_pipe();
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  const Descriptor output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  check(output.get() >= 0, ExitCode::kEnvironment, "cannot open {} ({}) check the path", log, std::strerror(errno));
  id_ = process_of(spawn(command, environment, reader.get(), output.get(), output.get()));
  input_ = writer.release();
}

HeldProcess::~HeldProcess() {
  if (input_ >= 0) ::close(input_);
}

void HeldProcess::go() {
  constexpr std::string_view kWord = "go\n";
  // A process that is gone already is found by looking for what it leaves, so a failed write says nothing new.
  sigset_t pipe_signal;
  sigset_t before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  if (::write(input_, kWord.data(), kWord.size()) < 0 && errno == EPIPE) {
    const timespec at_once{};
    sigtimedwait(&pipe_signal, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(std::exchange(input_, -1));
}

CommandResult run_command(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  const Descriptor nothing = open_nothing();
  const auto out = make_pipe();
  const Descriptor out_reader(out[0]);
  Descriptor out_writer(out[1]);
  const auto errors = make_pipe();
  const Descriptor errors_reader(errors[0]);
  Descriptor errors_writer(errors[1]);
  const pid_t child = spawn(command, environment, nothing.get(), out_writer.get(), errors_writer.get());
  out_writer.close();
  errors_writer.close();
  CommandResult result;
  std::array<pollfd, 2> open = {pollfd{out_reader.get(), POLLIN, 0}, pollfd{errors_reader.get(), POLLIN, 0}};
  while (open[0].fd >= 0 || open[1].fd >= 0) {
    if (::poll(open.data(), open.size(), -1) < 0) {
      check(errno == EINTR, ExitCode::kEnvironment, "waiting for {} failed: {}", command[0], std::strerror(errno));
      continue;
    }
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (open[i].fd < 0 || open[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t count = ::read(open[i].fd, buffer.data(), buffer.size());
      if (count > 0) (i == 0 ? result.output : result.errors).append(buffer.data(), static_cast<std::size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR)) open[i].fd = -1;
    }
  }
  result.code = wait_for(child, command[0]);
  return result;
}

int run_shown(const std::vector<std::string>& command, const std::vector<std::string>& environment,
              const std::function<bool()>& stop_wanted) {
  const Descriptor nothing = open_nothing();
  const pid_t child = spawn(command, environment, nothing.get(), STDERR_FILENO, STDERR_FILENO, Group::kOfThisProcess);
  siginfo_t ended{};
  for (bool told = false; ended.si_pid == 0;) {
    if (::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) < 0) break;
    if (!told && stop_wanted()) told = ::kill(child, SIGTERM) == 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return wait_for(child, command[0]);
}

bool is_in_path(const std::string& program) {
  std::istringstream folders(environment("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

}  // namespace mpiquant
