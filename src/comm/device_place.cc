#include "src/comm/device_place.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>

namespace mpiquant {
namespace {

std::optional<int> number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::optional<int> local_rank(const EnvLookup& env) {
  constexpr std::array<const char*, 5> kNames = {"OMPI_COMM_WORLD_LOCAL_RANK", "PMIX_LOCAL_RANK", "MPI_LOCALRANKID",
                                                 "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"};
  for (const char* name : kNames) {
    const std::optional<std::string> text = env(name);
    if (!text) continue;
    if (const std::optional<int> value = number(*text); value && *value >= 0) return value;
  }
  return std::nullopt;
}

int choose_device(int local_rank, int visible, bool share) {
  expect(local_rank >= 0 && visible > 0, "rank {} of a node with {} GPUs", local_rank, visible);
  if (visible == 1) return 0;
  check(local_rank < visible || share, ExitCode::kUsage,
        "rank {} of this node has no GPU of its own, {} are visible (each rank works on one) start at most {} ranks a node, or "
        "let them "
        "share GPUs by --reduce mpi",
        local_rank, visible, visible);
  return local_rank % visible;
}

std::vector<int> parse_cpu_list(const std::string& text) {
  constexpr int kMostCpus = 1 << 16;
  std::vector<int> out;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string range = text.substr(begin, end - begin);
    const std::size_t dash = range.find('-');
    const std::optional<int> first = number(range.substr(0, dash));
    const std::optional<int> last = dash == std::string::npos ? first : number(range.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kMostCpus) return {};
    for (int cpu = *first; cpu <= *last; ++cpu) out.push_back(cpu);
    begin = end + 1;
  }
  return out;
}

void check_nccl_versions(std::span<const std::string> versions) {
  for (std::size_t rank = 1; rank < versions.size(); ++rank)
    check(versions[rank] == versions.front(), ExitCode::kEnvironment,
          "rank {} has NCCL {} and rank 0 has {} (they cannot exchange their sums) load the same version on all nodes, or use "
          "--reduce mpi",
          rank, versions[rank], versions.front());
}

NearDevice near_device(const std::string& pci_id, const std::filesystem::path& devices) {
  std::string name = pci_id;  // the kernel writes it in lower case
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::filesystem::path device = devices / name;
  return {number(first_line(device / "numa_node")).value_or(-1), parse_cpu_list(first_line(device / "local_cpulist"))};
}

}  // namespace mpiquant
