#include "src/text/helper_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "src/base/error.h"
#include "src/base/json.h"

extern char** environ;

namespace mpiquant {

namespace {

class Pipe {
 public:
  Pipe() {
    check(::pipe2(ends_.data(), O_CLOEXEC) == 0, ExitCode::kEnvironment, "no pipe can be opened: {}", std::strerror(errno));
  }
  ~Pipe() {
    close_writer();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int writer() const { return ends_[1]; }
  void close_writer() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }
  std::string read_all() const {
    std::string text;
    std::array<char, 65536> buffer{};
    for (;;) {
      const ssize_t count = ::read(ends_[0], buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      check(count >= 0, ExitCode::kEnvironment, "the output of a helper cannot be read: {}", std::strerror(errno));
      if (count == 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

pid_t spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  check(error == 0, ExitCode::kEnvironment, "{} cannot be started: {} (it is needed to read this source of text) install it",
        command[0], std::strerror(error));
  return child;
}

// The message of a helper that failed politely.
std::optional<std::string> reported_error(std::string_view output) {
  while (output.ends_with('\n')) output.remove_suffix(1);
  const std::size_t begin = output.rfind('\n');
  const std::string_view line = begin == std::string_view::npos ? output : output.substr(begin + 1);
  if (!line.starts_with("{\"error\"")) return std::nullopt;
  const Json json = parse_json(line, "the helper's output");
  return json.at("error").is_string() ? std::optional(json.at("error").get<std::string>()) : std::nullopt;
}

}  // namespace

std::string run_helper(const std::vector<std::string>& command) {
  Pipe pipe;
  const pid_t child = spawn(command, pipe.writer());
  pipe.close_writer();
  std::string output = pipe.read_all();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    check(errno == EINTR, ExitCode::kEnvironment, "waiting for {} failed: {}", command[0], std::strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output;
  const bool input = WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(ExitCode::kInput);
  const ExitCode code = input ? ExitCode::kInput : ExitCode::kEnvironment;
  if (const auto error = reported_error(output)) fail(code, "{}", *error);
  fail(code, "the helper {} failed with status {} (its own message is above)", command.size() > 1 ? command[1] : command[0],
       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace mpiquant
