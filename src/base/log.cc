#include "src/base/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string_view>

#include "src/base/environment.h"

namespace mpiquant {
namespace {

// Lines on standard error; on a terminal with colours and, below all lines, one line of status that is redrawn in place.
class TerminalSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit TerminalSink(bool shows_status)
      : terminal_(isatty(STDERR_FILENO) != 0),
        coloured_(terminal_ && environment("NO_COLOR").empty()),
        shows_status_(terminal_ && shows_status) {}
  ~TerminalSink() override { set_status(""); }

  bool shows_status() const { return shows_status_; }
  void set_status(const std::string& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!shows_status_ || status == status_) return;
    erase_status();
    status_ = status;
    draw_status();
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    erase_status();
    const bool marked = coloured_ && message.color_range_end > message.color_range_start;
    const std::string_view line(text.data(), text.size());
    if (marked) {
      put(line.substr(0, message.color_range_start));
      put(colour_of(message.level));
      put(line.substr(message.color_range_start, message.color_range_end - message.color_range_start));
      put("\033[m");
      put(line.substr(message.color_range_end));
    } else {
      put(line);
    }
    draw_status();
  }
  void flush_() override { std::fflush(stderr); }

 private:
  static void put(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }
  static std::string_view colour_of(spdlog::level::level_enum level) {
    if (level >= spdlog::level::err) return "\033[31m";
    if (level == spdlog::level::warn) return "\033[33m";
    return level == spdlog::level::debug ? "\033[2m" : "";
  }
  void erase_status() const {
    if (!status_.empty()) put("\r\033[K");
  }
  void draw_status() const {
    put(status_);
    std::fflush(stderr);
  }

  bool terminal_;
  bool coloured_;
  bool shows_status_;
  std::string status_;
};

std::shared_ptr<TerminalSink> current_sink() {
  const auto& sinks = spdlog::default_logger_raw()->sinks();
  return sinks.empty() ? nullptr : std::dynamic_pointer_cast<TerminalSink>(sinks.front());
}

}  // namespace

void start_logging(Verbosity verbosity, int rank) {
  // Ranks other than 0 have nothing to show: they would draw over each other.
  auto logger =
      std::make_shared<spdlog::logger>("mpiquant", std::make_shared<TerminalSink>(rank == 0 && verbosity != Verbosity::kQuiet));
  logger->set_pattern(rank == 0 ? "[%H:%M:%S] %^%v%$" : fmt::format("[%H:%M:%S] [rank {}] %^%v%$", rank));
  switch (verbosity) {
    case Verbosity::kQuiet: logger->set_level(spdlog::level::warn); break;
    case Verbosity::kNormal: logger->set_level(spdlog::level::info); break;
    case Verbosity::kVerbose: logger->set_level(spdlog::level::debug); break;
  }
  if (rank != 0 && verbosity != Verbosity::kVerbose) logger->set_level(spdlog::level::off);
  spdlog::set_default_logger(std::move(logger));
}

void log_info(const std::string& line) { spdlog::info("{}", line); }
void log_warning(const std::string& line) { spdlog::warn("warning: {}", line); }
void log_debug(const std::string& line) { spdlog::debug("{}", line); }

bool log_shows_status() {
  const auto sink = current_sink();
  return sink != nullptr && sink->shows_status();
}

void log_status(const std::string& status) {
  if (const auto sink = current_sink()) sink->set_status(status);
}

}  // namespace mpiquant
