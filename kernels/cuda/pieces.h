#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace mpiquant::cuda {

// A piece of a copy between dense host memory and rows on the device: `rows` rows of row_bytes.
struct CopyPiece {
  std::size_t host;    // offset of the first byte
  std::size_t device;  // offset of the first byte
  std::size_t rows;
  std::size_t row_bytes;
};

// Covers `bytes` of dense host memory, rows of row_bytes that are `pitch` apart on the device, by pieces of at most `limit`
// bytes.
inline std::vector<CopyPiece> copy_pieces(std::size_t bytes, std::size_t row_bytes, std::size_t pitch, std::size_t limit) {
  std::vector<CopyPiece> out;
  if (bytes == 0) return out;
  if (row_bytes == pitch || row_bytes > limit) {  // one after the other, or row by row
    const std::size_t run = row_bytes == pitch ? bytes : row_bytes;
    for (std::size_t start = 0; start < bytes; start += run)
      for (std::size_t at = 0; at < run; at += limit)
        out.push_back({start + at, start / row_bytes * pitch + at, 1, std::min(limit, run - at)});
    return out;
  }
  const std::size_t rows = bytes / row_bytes, step = limit / row_bytes;
  for (std::size_t row = 0; row < rows; row += step)
    out.push_back({row * row_bytes, row * pitch, std::min(step, rows - row), row_bytes});
  return out;
}

}  // namespace mpiquant::cuda
