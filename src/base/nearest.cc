#include "src/base/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace mpiquant {
namespace {

// Longer words than any name are cut: the work is quadratic.
constexpr std::size_t kLongest = 64;

std::string plain(std::string_view word) {
  std::string out(word.substr(0, kLongest));
  for (char& c : out) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

int edit_distance(std::string_view first, std::string_view second) {
  const std::string a = plain(first);
  const std::string b = plain(second);
  // Rows i - 2, i - 1 and i of the table of distances between prefixes.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  int least =
      static_cast<int>(std::max<std::size_t>(1, std::min(word.size(), kLongest) / 3)) + 1;  // farther is no typing mistake
  for (const std::string& name : known) {
    const int distance = edit_distance(word, name);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kManyNames = 12;  // a longer list is only printed when there is nothing better to say
  const std::string near = nearest(word, known);
  std::string question = near.empty() ? "" : fmt::format("did you mean \"{}\"?", near);
  if (!near.empty() && known.size() > kManyNames) return question;
  return fmt::format("(known: {}){}{}", fmt::join(known, ", "), near.empty() ? "" : " ", question);
}

}  // namespace mpiquant
