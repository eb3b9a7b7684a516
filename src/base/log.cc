#include "src/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace mpiquant {

void start_logging(Verbosity verbosity, int rank) {
  auto logger = std::make_shared<spdlog::logger>("mpiquant", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
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

}  // namespace mpiquant
