#include "kernels/arena.h"

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant {

Arena::Arena(std::size_t bytes) : bytes_(bytes / kAlignment * kAlignment) {
  if (bytes_ > 0) places_[0] = {bytes_, kNoQueue};
}

std::optional<std::size_t> Arena::take(std::size_t bytes, int queue) {
  if (bytes > bytes_) return std::nullopt;
  const std::size_t needed = std::max((bytes + kAlignment - 1) / kAlignment, std::size_t{1}) * kAlignment;
  auto best = places_.end();
  for (auto place = places_.begin(); place != places_.end(); ++place) {
    const auto& [offset, what] = *place;
    if (what.owner == kUsed || what.bytes < needed || (what.owner != kNoQueue && what.owner != queue)) continue;
    if (best == places_.end() || what.bytes < best->second.bytes) best = place;
  }
  if (best == places_.end()) return std::nullopt;
  const auto [offset, found] = *best;
  if (found.bytes > needed) places_[offset + needed] = {found.bytes - needed, found.owner};
  best->second = {needed, kUsed};
  used_ += needed;
  peak_ = std::max(peak_, used_);
  return offset;
}

void Arena::give(std::size_t offset, int queue) {
  const auto place = places_.find(offset);
  expect(place != places_.end() && place->second.owner == kUsed, "offset {} given back, where nothing was taken", offset);
  place->second.owner = queue;
  used_ -= place->second.bytes;
  join_neighbours(place);
}

void Arena::settle(int queue) {
  for (auto place = places_.begin(); place != places_.end();) {
    const auto next = std::next(place);
    if (queue != kNoQueue && place->second.owner == queue) {
      place->second.owner = kNoQueue;
      join_neighbours(place);
      place = places_.begin();
      continue;
    }
    place = next;
  }
}

std::size_t Arena::largest_free() const {
  std::size_t largest = 0;
  for (const auto& [offset, place] : places_)
    if (place.owner != kUsed) largest = std::max(largest, place.bytes);
  return largest;
}

void Arena::join_neighbours(Places::iterator place) {
  if (const auto next = std::next(place); next != places_.end() && next->second.owner == place->second.owner) {
    place->second.bytes += next->second.bytes;
    places_.erase(next);
  }
  if (place == places_.begin()) return;
  if (const auto before = std::prev(place); before->second.owner == place->second.owner) {
    before->second.bytes += place->second.bytes;
    places_.erase(place);
  }
}

}  // namespace mpiquant
