#include "src/run/kernel_sets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/run/job.h"

namespace mpiquant {
namespace {

constexpr std::string_view kBetween = " + ";

void add_sets(std::string_view text, std::set<std::string>& sets) {
  for (std::size_t end = text.find(kBetween); end != std::string_view::npos; end = text.find(kBetween)) {
    sets.emplace(text.substr(0, end));
    text.remove_prefix(end + kBetween.size());
  }
  sets.emplace(text);
}

}  // namespace

std::string kernel_sets(Communicator& world, const std::string& mine, bool allow_mixed) {
  const std::vector<std::string> all = all_gather_strings(world, mine);
  const std::set<std::string> sets(all.begin(), all.end());
  const auto other = std::ranges::find_if(all, [&](const std::string& each) { return each != all.front(); });
  collectively(world, [&] {
    check(other == all.end() || allow_mixed, ExitCode::kEnvironment,
          "rank {} has another kernel set than rank 0 (their products differ in the last bits, so that the output would "
          "depend on "
          "which rank does what: \"{}\" and \"{}\") use nodes of one kind, or accept it with --allow-mixed",
          other - all.begin(), other == all.end() ? "" : *other, all.front());
  });
  if (sets.size() > 1)
    warn_line("the ranks have {} kernel sets: the output's bytes depend on which rank does what (--allow-mixed): {}", sets.size(),
              fmt::join(sets, "; "));
  return fmt::format("{}", fmt::join(sets, kBetween));
}

std::string united_kernel_sets(const std::string& a, const std::string& b) {
  std::set<std::string> sets;
  add_sets(a, sets);
  add_sets(b, sets);
  return fmt::format("{}", fmt::join(sets, kBetween));
}

}  // namespace mpiquant
