#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mpiquant {

// Text out of a file for a terminal: control characters and bytes that are not UTF-8 become '?'.
std::string printable(std::string_view text);

// "12.3 MB", in powers of ten.
std::string shown_bytes(std::int64_t bytes);

// A bar of at most `width` columns for a share in [0, 1], in eighths of a column.
std::string bar(double share, int width);

// Columns as wide as their widest cell, two spaces apart: the first is aligned left, the others right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heads) : rows_{std::move(heads)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Columns from this one on are aligned left too.
  void left_from(std::size_t column) { left_from_ = column; }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::size_t left_from_ = static_cast<std::size_t>(-1);
};

}  // namespace mpiquant
