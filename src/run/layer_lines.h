#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "src/base/progress.h"
#include "src/run/job.h"

namespace mpiquant {

// The layers of all stages that are done, said by rank 0, which alone talks: the first replica of every other stage sends it a
// line for each. The other replicas take no part.
class LayerLines {
 public:
  // total: layers of all stages, a quantized head one of them; done: by an earlier run.
  LayerLines(const Grid& grid, std::int64_t total, std::int64_t done);

  // A layer of this stage is done. facts: as Progress::item_done's.
  void layer_done(const std::string& facts);
  // Rank 0 says what has come so far. To be called now and then while it waits.
  void poll();
  // No line of this stage follows.
  void end_stage();
  // Rank 0 waits until every stage has ended, and says what is left.
  void end();

 private:
  using Line = std::array<char, 192>;  // ends with zeros; an empty one is the last
  struct Stage {
    int number;
    bool open = true;
    Line line{};
    Pending pending{};
  };

  bool speaks() const { return progress_.has_value(); }
  void send(const std::string& text);
  void receive(Stage& stage);
  void take(Stage& stage);

  const Grid& grid_;
  std::optional<Progress> progress_;                // on rank 0
  std::deque<Stage> stages_;                        // there, the others
  std::deque<std::pair<Line, Pending>> under_way_;  // elsewhere
};

}  // namespace mpiquant
