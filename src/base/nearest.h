#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mpiquant {

// Edit distance: insertions, deletions, replacements and swaps of neighbours, ignoring case and taking '-' and '_' for the same.
int edit_distance(std::string_view a, std::string_view b);

// The known name nearest to a word that is none of them, or "" when none is near: for "did you mean".
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// `(known: static, dynamic, none) did you mean "static"?`: the end of a message about an unknown word.
std::string suggestion(std::string_view word, const std::vector<std::string>& known);

}  // namespace mpiquant
