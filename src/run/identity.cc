#include "src/run/identity.h"

#include "src/base/error.h"
#include "src/base/json.h"
#include "src/comm/collectives.h"

namespace mpiquant {

void require_same(Communicator& world, const Identity& identity) {
  const std::vector<std::string> all = all_gather_strings(world, Json(identity).dump());
  std::optional<Error> difference;
  const Json first = Json::parse(all.front());
  for (std::size_t rank = 1; rank < all.size() && !difference; ++rank) {
    const Json other = Json::parse(all[rank]);
    for (const auto& [field, value] : first.items()) {
      if (other.contains(field) && other[field] == value) continue;
      difference = Error(
          ExitCode::kEnvironment,
          fmt::format("rank {} has another {} than rank 0 (all ranks must work on the same thing: \"{}\" and \"{}\") start all "
                      "ranks with the same program, options and files",
                      rank, field, other.value(field, std::string("nothing")), value.get<std::string>()));
      break;
    }
  }
  agree(world, difference);
}

std::optional<std::string> difference(const Identity& a, const Identity& b) {
  for (const auto& [field, value] : a)
    if (const auto found = b.find(field); found == b.end() || found->second != value) return field;
  for (const auto& [field, value] : b)
    if (!a.contains(field)) return field;
  return std::nullopt;
}

}  // namespace mpiquant
