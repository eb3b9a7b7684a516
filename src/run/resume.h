#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace mpiquant {

// Where a stage gets the hidden states it begins with.
enum class HiddenFrom : std::uint8_t { kNowhere, kEmbedding, kStageBefore, kSnapshot };

// What a stage does when a run begins or goes on.
struct StageStart {
  std::int64_t first = 0;  // layer it begins at; the end of its range when nothing is left to do
  HiddenFrom from = HiddenFrom::kNowhere;
  bool sends = false;  // the next stage waits for its hidden states
};

// Pure: the same on every rank. stages: layers [first, second) of each stage, contiguous, a quantized head counted as a layer
// after the last. committed: layers whose codes are durable. snapshots: layers whose entering hidden states are durable. Layers
// from `first` on that are committed are replayed, through their decoded codes, when a later one needs their outputs.
std::vector<StageStart> plan_starts(const std::vector<std::pair<std::int64_t, std::int64_t>>& stages,
                                    const std::set<std::int64_t>& committed, const std::set<std::int64_t>& snapshots);

}  // namespace mpiquant
