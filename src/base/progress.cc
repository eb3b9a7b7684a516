#include "src/base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "src/base/log.h"

namespace mpiquant {
namespace {

constexpr int kBarColumns = 79;

double steady_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string left_text(double seconds) { return seconds < 0 ? "" : fmt::format(", {} left", duration_text(seconds)); }

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

Progress::Progress(std::string what, std::int64_t total, std::int64_t done, std::function<double()> clock)
    : what_(std::move(what)),
      total_(total),
      first_(done),
      done_(done),
      clock_(clock ? std::move(clock) : steady_seconds),
      start_(now()) {
  draw();
}

Progress::~Progress() { log_status(""); }

void Progress::at(double part) {
  part_ = std::clamp(part, 0.0, 1.0);
  draw();
}

void Progress::item_done(const std::string& facts) {
  done_ = std::min(done_ + 1, total_);
  part_ = 0;
  // The bar says how far it is; its lines are for those who look closer.
  if (log_shows_status())
    log_debug(line(facts));
  else
    log_info(line(facts));
  draw();
}

double Progress::seconds_left() const {
  const double here = static_cast<double>(done_ - first_) + part_;
  if (here <= 0) return -1;
  return (now() - start_) / here * (static_cast<double>(total_ - done_) - part_);
}

std::string Progress::line(const std::string& facts) const {
  return fmt::format("{} {} of {}: {}{}", what_, done_, total_, facts, left_text(seconds_left()));
}

std::string Progress::bar(int columns) const {
  const std::string begin = fmt::format("{}s [", what_);
  const std::string end = fmt::format("] {}/{}{}", done_, total_, left_text(seconds_left()));
  const int room = columns - static_cast<int>(begin.size() + end.size());
  const int cells = std::clamp(room, 0, 40);
  const double whole = total_ == 0 ? 1 : (static_cast<double>(done_) + part_) / static_cast<double>(total_);
  const auto full = static_cast<std::size_t>(std::floor(whole * cells));
  const std::string text = begin + std::string(full, '#') + std::string(static_cast<std::size_t>(cells) - full, '.') + end;
  return text.substr(0, static_cast<std::size_t>(std::max(columns, 0)));
}

void Progress::draw() const {
  if (log_shows_status()) log_status(bar(kBarColumns));
}

}  // namespace mpiquant
