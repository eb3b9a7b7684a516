#include "src/run/token_rows.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "src/base/error.h"
#include "src/model/weights.h"

namespace mpiquant {

TokenRows::TokenRows(const ModelSpec& model, const Plan& plan, const Samples& samples, const Communicator& world)
    : vocab_(static_cast<std::size_t>(model.vocab)), hidden_(static_cast<std::size_t>(model.hidden)) {
  for (const auto& sample : samples) check_tokens(model, sample);
  for (const SlabPlan& slab : plan.slabs)
    if (slab.tensor == model.embedding) slabs_.push_back({slab.row_begin, slab.row_end, slab.rank});
  std::ranges::sort(slabs_, {}, &Slab::begin);
  for (int replica = 0; replica < plan.replicas; ++replica) {
    wanted_.push_back(ids_of(plan, samples, replica));
    const Ids mine = passing(wanted_.back(), world.rank());
    Ids both;
    std::ranges::set_union(picked_, mine, std::back_inserter(both));
    picked_ = std::move(both);
  }
  passed_.resize(picked_.size() * hidden_);
}

TokenRows::Ids TokenRows::ids_of(const Plan& plan, const Samples& samples, int replica) const {
  std::vector<bool> used(vocab_);
  for (const std::int64_t index : plan.units_of(replica)) {
    const UnitPlan& unit = plan.units[static_cast<std::size_t>(index)];
    for (std::int64_t s = unit.first_sample; s < unit.first_sample + unit.samples; ++s)
      for (const std::int32_t id : samples[static_cast<std::size_t>(s)]) used[static_cast<std::size_t>(id)] = true;
  }
  Ids ids;
  for (std::size_t id = 0; id < vocab_; ++id)
    if (used[id]) ids.push_back(static_cast<std::int32_t>(id));
  return ids;
}

TokenRows::Ids TokenRows::passing(const Ids& ids, int rank) const {
  Ids out;
  for (const Slab& slab : slabs_)
    if (slab.rank == rank)
      std::copy(std::ranges::lower_bound(ids, slab.begin), std::ranges::lower_bound(ids, slab.end), std::back_inserter(out));
  return out;
}

void TokenRows::pass(std::int64_t begin, std::int64_t end, std::span<const float> rows) {
  const auto first = std::ranges::lower_bound(picked_, begin), last = std::ranges::lower_bound(picked_, end);
  for (auto id = first; id != last; ++id)
    std::ranges::copy(rows.subspan(static_cast<std::size_t>(*id - begin) * hidden_, hidden_),
                      passed_.begin() + (id - picked_.begin()) * static_cast<std::ptrdiff_t>(hidden_));
}

void TokenRows::share(Communicator& world) {
  if (world.size() == 1) {
    ids_ = std::move(picked_);
    rows_ = std::move(passed_);
    row_.resize(ids_.size());
    std::iota(row_.begin(), row_.end(), std::size_t{0});
    return;
  }
  const auto ranks = static_cast<std::size_t>(world.size());
  const std::size_t row_bytes = hidden_ * sizeof(float);
  std::vector<std::size_t> given(ranks), got(ranks);
  std::vector<float> giving;
  for (std::size_t replica = 0; replica < wanted_.size(); ++replica) {  // rank of the first stage
    const Ids ids = passing(wanted_[replica], world.rank());
    given[replica] = ids.size() * row_bytes;
    for (const std::int32_t id : ids) {
      const auto at = (std::ranges::lower_bound(picked_, id) - picked_.begin()) * static_cast<std::ptrdiff_t>(hidden_);
      giving.insert(giving.end(), passed_.begin() + at, passed_.begin() + at + static_cast<std::ptrdiff_t>(hidden_));
    }
  }
  passed_ = std::vector<float>();
  const auto me = static_cast<std::size_t>(world.rank());
  if (me < wanted_.size()) ids_ = std::move(wanted_[me]);
  row_.resize(ids_.size());
  std::size_t next = 0;
  for (int rank = 0; rank < world.size(); ++rank) {
    const Ids theirs = passing(ids_, rank);
    got[static_cast<std::size_t>(rank)] = theirs.size() * row_bytes;
    for (const std::int32_t id : theirs)
      row_[static_cast<std::size_t>(std::ranges::lower_bound(ids_, id) - ids_.begin())] = next++;
  }
  expect(next == ids_.size(), "the rows of {} of {} tokens are carried over", next, ids_.size());
  wanted_ = {};
  rows_.resize(ids_.size() * hidden_);
  world.all_to_all_v(bytes_of(std::span<const float>(giving)), given, bytes_of(std::span(rows_)), got);
}

void TokenRows::copy(std::span<const std::int32_t> ids, std::span<float> out) const {
  expect(out.size() == ids.size() * hidden_, "room for {} floats, {} ids of {}", out.size(), ids.size(), hidden_);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = std::ranges::lower_bound(ids_, ids[i]);
    expect(found != ids_.end() && *found == ids[i], "token {} is of no unit here", ids[i]);
    const std::size_t row = row_[static_cast<std::size_t>(found - ids_.begin())];
    std::ranges::copy(std::span(rows_).subspan(row * hidden_, hidden_), out.subspan(i * hidden_, hidden_).begin());
  }
}

}  // namespace mpiquant
