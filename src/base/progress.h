#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mpiquant {

// "45 s", "3 min 20 s", "2 h 05 min".
std::string duration_text(double seconds);

// How far a run of equal items (layers, windows) is, for people: a bar with the time left on a terminal, a line for each item in
// a log. Ranks whose log is silent may keep one, too.
class Progress {
 public:
  // clock: seconds from any moment on; the steady clock if it is empty.
  // done: items that an earlier run finished, which say nothing about speed.
  Progress(std::string what, std::int64_t total, std::int64_t done = 0, std::function<double()> clock = {});
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // takes the bar away

  // The current item is done to this part, from 0 to 1: moves the bar.
  void at(double part);
  // The current item is done. facts: "loss 0.0123, damping 0.01, 4.1 s, slowest rank 2", for its line.
  void item_done(const std::string& facts);

  // Estimated from the items done here; negative while nothing is known.
  double seconds_left() const;
  // "layer 3 of 30: FACTS, 2 min 10 s left"
  std::string line(const std::string& facts) const;
  // "layers [######..............] 3/30, 2 min 10 s left", of at most `columns` characters.
  std::string bar(int columns) const;

 private:
  double now() const { return clock_(); }
  void draw() const;

  std::string what_;
  std::int64_t total_;
  std::int64_t first_;  // items done before
  std::int64_t done_;   // with those
  double part_ = 0;     // of the current item
  std::function<double()> clock_;
  double start_;
};

}  // namespace mpiquant
