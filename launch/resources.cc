#include "launch/resources.h"

#include <vector>

#include "src/base/environment.h"

namespace mpiquant {

std::optional<std::filesystem::path> find_resource(const std::string& name) {
  namespace fs = std::filesystem;
  std::vector<fs::path> roots;
  if (const std::string home = environment("MPIQUANT_HOME"); !home.empty()) roots.emplace_back(home);
  std::error_code failed;
  const fs::path bin = fs::read_symlink("/proc/self/exe", failed).parent_path();
  if (!failed) {
    roots.push_back(bin.parent_path().parent_path());
    roots.push_back(bin.parent_path() / "share" / "mpiquant");
  }
  for (const fs::path& root : roots)
    if (fs::exists(root / name)) return root / name;
  return std::nullopt;
}

}  // namespace mpiquant
