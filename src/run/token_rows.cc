#include "src/run/token_rows.h"

#include <algorithm>
#include <numeric>

#include "src/base/error.h"
#include "src/model/weights.h"

namespace mpiquant {

TokenRows::TokenRows(const ModelSpec& model, const Plan& plan, const Samples& samples, const Communicator& world)
    : hidden_(static_cast<std::size_t>(model.hidden)), by_rank_(static_cast<std::size_t>(world.size())) {
  for (const auto& sample : samples) {
    check_tokens(model, sample);
    ids_.insert(ids_.end(), sample.begin(), sample.end());
    std::ranges::sort(ids_);
    ids_.erase(std::ranges::unique(ids_).begin(), ids_.end());
  }
  constexpr int kNobody = -1;
  std::vector<int> rank_of(ids_.size(), kNobody);
  for (const SlabPlan& slab : plan.slabs) {
    const SlabTarget& target = slab.targets.front();
    if (plan.tensor_of(target).source != model.embedding) continue;
    const auto first = std::ranges::lower_bound(ids_, slab.row_begin), last = std::ranges::lower_bound(ids_, slab.row_end);
    std::fill(rank_of.begin() + (first - ids_.begin()), rank_of.begin() + (last - ids_.begin()), slab.rank);
  }
  for (const int rank : rank_of) {
    expect(rank != kNobody, "no rank carries over the row of a token");
    ++by_rank_[static_cast<std::size_t>(rank)];
  }
  std::vector<std::size_t> next(by_rank_.size());
  std::exclusive_scan(by_rank_.begin(), by_rank_.end(), next.begin(), std::size_t{0});
  for (const int rank : rank_of) place_.push_back(next[static_cast<std::size_t>(rank)]++);
  rows_.resize(ids_.size() * hidden_);
}

void TokenRows::pass(std::int64_t begin, std::int64_t end, std::span<const float> rows) {
  for (auto id = std::ranges::lower_bound(ids_, begin); id != ids_.end() && *id < end; ++id)
    std::ranges::copy(rows.subspan(static_cast<std::size_t>(*id - begin) * hidden_, hidden_),
                      row(static_cast<std::size_t>(id - ids_.begin())).begin());
}

void TokenRows::share(Communicator& world) {
  if (world.size() == 1) return;
  const auto rank = by_rank_.begin() + world.rank();
  const std::size_t before = std::accumulate(by_rank_.begin(), rank, std::size_t{0});
  const std::span<const float> mine = std::span(rows_).subspan(before * hidden_, *rank * hidden_);
  std::vector<std::size_t> bytes;
  for (const std::size_t count : by_rank_) bytes.push_back(count * hidden_ * sizeof(float));
  world.all_gather_v(bytes_of(mine), bytes, bytes_of(std::span(rows_)));
}

void TokenRows::copy(std::span<const std::int32_t> ids, std::span<float> out) const {
  expect(out.size() == ids.size() * hidden_, "room for {} floats, {} ids of {}", out.size(), ids.size(), hidden_);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = std::ranges::lower_bound(ids_, ids[i]);
    expect(found != ids_.end() && *found == ids[i], "token {} is not in the calibration", ids[i]);
    const std::size_t place = place_[static_cast<std::size_t>(found - ids_.begin())];
    std::ranges::copy(std::span(rows_).subspan(place * hidden_, hidden_), out.subspan(i * hidden_, hidden_).begin());
  }
}

}  // namespace mpiquant
