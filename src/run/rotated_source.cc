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

RotatedSource::RotatedSource(const TensorSource& stored, const ModelSpec& model) : stored_(stored) {
  for (auto& [name, change] : rotated_tensors(model)) changes_.emplace(name, change);
  for (const auto& [name, change] : changes_)
    for (const std::int64_t period : {change.in, change.out})
      if (period != 0) rotations_.try_emplace(period, period);
  const auto add = [&](const std::string& name, const TensorEntry& from, const RotatedTensor& change) {
    const std::int64_t cols = from.shape.size() < 2 ? 1 : from.shape[1];
    add_decoded(name, from.shape,
                [this, source = from.name, change, cols](std::int64_t begin, std::int64_t end, std::span<float> out) {
                  read(source, change, cols, begin, end, out);
                });
  };
  for (const TensorEntry& entry : stored.entries()) {
    if (model.tied && entry.name == model.head.weight()) continue;  // a copy that nobody reads
    if (const auto change = changes_.find(entry.name); change != changes_.end())
      add(entry.name, entry, change->second);
    else
      add_stored(entry, [this, name = entry.name](std::int64_t offset, std::span<std::byte> out) {
        stored_.read_raw(name, offset, out);
      });
  }
  if (model.tied) add(model.head.weight(), stored.at(model.embedding), changes_.at(model.head.weight()));
  sort_entries();
}

std::int64_t RotatedSource::row_block(std::string_view name) const {
  const auto change = changes_.find(name);
  return change == changes_.end() || change->second.out == 0 ? 1 : rotations_.at(change->second.out).block();
}

// Rows [begin, end) of a tensor after its change; cols: 1 for vectors.
void RotatedSource::read(const std::string& name, const RotatedTensor& change, std::int64_t cols, std::int64_t begin,
                         std::int64_t end, std::span<float> out) const {
  if (change.becomes_ones) {
    std::ranges::fill(out, 1.0F);
    return;
  }
  const auto width = static_cast<std::size_t>(cols);
  if (change.out == 0) {
    load_rows(stored_, name, cols, begin, end, out);
  } else {
    const Rotation& rotation = rotations_.at(change.out);
    const std::int64_t block = rotation.block();
    std::vector<float> rows(static_cast<std::size_t>(block) * width);
    for (std::int64_t first = begin / block * block; first < end; first += block) {
      load_rows(stored_, name, cols, first, first + block, rows);
      rotation.turn_rows(rows, first, cols);
      const std::int64_t from = std::max(begin, first), to = std::min(end, first + block);
      const auto wanted =
          std::span(rows).subspan(static_cast<std::size_t>(from - first) * width, static_cast<std::size_t>(to - from) * width);
      std::ranges::copy(wanted, out.begin() + (from - begin) * cols);
    }
  }
  if (change.in == 0) return;
  const std::vector<float> norm = folded_norm(stored_, change, cols);
  const Rotation& rotation = rotations_.at(change.in);
  for (std::size_t at = 0; at < out.size(); at += width) {
    const std::span<float> row = out.subspan(at, width);
    for (std::size_t j = 0; j < norm.size(); ++j) row[j] *= norm[j];
    rotation.turn(row);
  }
}

}  // namespace mpiquant
