#include "src/run/rotated_source.h"

#include <algorithm>
#include <vector>

#include "src/model/weights.h"

namespace mpiquant {

std::vector<float> folded_norm(const TensorSource& stored, const RotatedTensor& change, std::int64_t cols) {
  if (change.norm.empty()) return {};
  std::vector<float> weights(static_cast<std::size_t>(cols));
  load_rows(stored, change.norm, 1, 0, cols, weights);
  return weights;
}

RotatedSource::Norm RotatedSource::norm_of(const RotatedTensor& change, std::int64_t cols) const {
  constexpr std::size_t kMostNorms = 4;
  const std::lock_guard lock(mutex_);
  if (const auto found = norms_.find(change.norm); found != norms_.end()) return found->second;
  if (norms_.size() == kMostNorms) norms_.clear();
  return norms_[change.norm] = std::make_shared<const std::vector<float>>(folded_norm(stored_, change, cols));
}

RotatedSource::RotatedSource(const TensorSource& stored, const ModelSpec& model) : stored_(stored) {
  for (auto& [name, change] : rotated_tensors(model)) changes_.emplace(name, change);
  for (const auto& [name, change] : changes_)
    for (const std::int64_t period : {change.in, change.out})
      if (period != 0) rotations_.try_emplace(period, period);
  const auto add = [&](const std::string& name, const TensorEntry& from) {
    const std::int64_t cols = from.shape.size() < 2 ? 1 : from.shape[1];
    add_decoded(name, from.shape,
                [this, name, stored_name = from.name, cols](std::int64_t begin, std::int64_t end, std::span<float> out) {
                  read(name, stored_name, cols, begin, end, out);
                });
  };
  for (const TensorEntry& entry : stored.entries()) {
    if (model.tied && entry.name == model.head.weight()) continue;  // a copy that nobody reads
    if (changes_.contains(entry.name))
      add(entry.name, entry);
    else
      add_stored(entry, [this, name = entry.name](std::int64_t offset, std::span<std::byte> out) {
        stored_.read_raw(name, offset, out);
      });
  }
  if (model.tied) add(model.head.weight(), stored.at(model.embedding));
  sort_entries();
}

std::int64_t RotatedSource::row_block(std::string_view name) const {
  const auto change = changes_.find(name);
  return change == changes_.end() || change->second.out == 0 ? 1 : rotations_.at(change->second.out).block();
}

void RotatedSource::turn(const std::string& name, std::int64_t begin, std::int64_t end, std::span<float> rows) const {
  const auto found = changes_.find(name);
  if (found == changes_.end() || begin == end) return;
  const RotatedTensor& change = found->second;
  if (change.becomes_ones) {
    std::ranges::fill(rows, 1.0F);
    return;
  }
  const std::int64_t cols = std::ssize(rows) / (end - begin);
  if (change.out != 0) rotations_.at(change.out).turn_rows(rows, begin, cols);
  if (change.in == 0) return;
  const Norm kept = norm_of(change, cols);
  const std::vector<float>& norm = *kept;
  const Rotation& rotation = rotations_.at(change.in);
  const auto width = static_cast<std::size_t>(cols);
  for (std::size_t at = 0; at < rows.size(); at += width) {
    const std::span<float> row = rows.subspan(at, width);
    for (std::size_t j = 0; j < norm.size(); ++j) row[j] *= norm[j];
    rotation.turn(row);
  }
}

// Rows [begin, end) of any range; cols: 1 for vectors.
void RotatedSource::read(const std::string& name, const std::string& stored_name, std::int64_t cols, std::int64_t begin,
                         std::int64_t end, std::span<float> out) const {
  if (changes_.at(name).becomes_ones) return turn(name, begin, end, out);
  const std::int64_t block = row_block(name);
  const std::int64_t first = begin / block * block, last = (end + block - 1) / block * block;
  if (first == begin && last == end) {
    load_rows(stored_, stored_name, cols, begin, end, out);
    return turn(name, begin, end, out);
  }
  std::vector<float> rows(static_cast<std::size_t>((last - first) * cols));
  load_rows(stored_, stored_name, cols, first, last, rows);
  turn(name, first, last, rows);
  std::ranges::copy(std::span(rows).subspan(static_cast<std::size_t>((begin - first) * cols), out.size()), out.begin());
}

}  // namespace mpiquant
