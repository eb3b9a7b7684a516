#include "src/plan/machine.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

constexpr double kGB = 1e9;
constexpr double kMicro = 1e-6;
constexpr double kMaxNumber = 1e18;

// A map of the file whose keys are all known and whose numbers are checked.
class Section {
 public:
  Section(const YAML::Node& node, std::string_view where, std::string name, const std::vector<std::string>& known)
      : node_(node), where_(where), name_(std::move(name)) {
    check(node.IsMap(), ExitCode::kInput, "{}: {} is missing or no map (see configs/topologies for examples)", where_, name_);
    for (const auto& entry : node) {
      const auto key = entry.first.as<std::string>("");
      check(std::ranges::find(known, key) != known.end(), ExitCode::kInput, "{}: unknown key {} in {}; {}", where_, key, name_,
            suggestion(key, known));
    }
  }

  bool has(const std::string& key) const { return node_[key].IsDefined(); }

  // A number of at least 0.
  double number(const std::string& key) const {
    const double value = node_[key].as<double>(-1);
    check(std::isfinite(value) && value >= 0 && value <= kMaxNumber, ExitCode::kInput,
          "{}: {} in {} is missing or no number of at least 0 (times and memory follow from it)", where_, key, name_);
    return value;
  }
  double number_or(const std::string& key, double absent) const { return has(key) ? number(key) : absent; }

  int count(const std::string& key) const {
    const double value = number(key);
    check(value >= 1 && value <= 1e6 && value == std::floor(value), ExitCode::kInput, "{}: {} in {} is no count", where_, key,
          name_);
    return static_cast<int>(value);
  }

 private:
  YAML::Node node_;
  std::string_view where_;
  std::string name_;
};

std::string key_of(const OpInfo& info) { return fmt::format("{}_{}", info.name, info.unit_name); }

Link read_link(const YAML::Node& node, std::string_view where, const std::string& name, double efficiency) {
  const Section section(node, where, name, {"gb_s", "latency_us"});
  return {section.number("gb_s") * kGB * efficiency, section.number("latency_us") * kMicro};
}

Machine read_machine(const YAML::Node& root, std::string_view where) {
  const Section top(root, where, "the file", {"version", "name", "node", "rates", "link", "network", "storage", "efficiency"});
  check(top.number("version") == 1, ExitCode::kInput, "{}: version is not 1 (this program reads version 1)", where);
  Machine machine;
  machine.name = root["name"].as<std::string>("");
  check(!machine.name.empty(), ExitCode::kInput, "{}: name is missing", where);

  const Section node(root["node"], where, "node", {"ranks", "threads", "accelerated", "memory_gb", "gpu_memory_gb"});
  machine.ranks = node.count("ranks");
  machine.threads = node.count("threads");
  machine.accelerated = node.has("accelerated") && root["node"]["accelerated"].as<bool>(false);
  machine.node_memory = node.number("memory_gb") * kGB;
  machine.rank_memory = node.number_or("gpu_memory_gb", 0) * kGB;

  std::vector<std::string> rate_keys = {"linear_bf16_gflops", "hessian_bf16_gflops"};
  std::vector<std::string> op_names = {"network", "link"};
  for (const OpInfo& info : ops()) {
    rate_keys.push_back(key_of(info));
    op_names.emplace_back(info.name);
  }
  const YAML::Node none(YAML::NodeType::Map);
  const Section efficiency(root["efficiency"].IsDefined() ? root["efficiency"] : none, where, "efficiency", op_names);
  const Section rates(root["rates"], where, "rates", rate_keys);
  for (const OpInfo& info : ops())
    machine.rates[info.op] = rates.number(key_of(info)) * info.unit * efficiency.number_or(std::string(info.name), 1);
  machine.linear_bf16 = rates.number_or("linear_bf16_gflops", 0) * 1e9 * efficiency.number_or("linear", 1);
  machine.hessian_bf16 = rates.number_or("hessian_bf16_gflops", 0) * 1e9 * efficiency.number_or("hessian", 1);

  machine.link = read_link(root["link"], where, "link", efficiency.number_or("link", 1));
  machine.network = read_link(root["network"], where, "network", efficiency.number_or("network", 1));
  const YAML::Node storage_node = root["storage"];
  const Section storage(storage_node.IsDefined() ? storage_node : none, where, "storage",
                        {"node_read_gb_s", "node_write_gb_s", "total_read_gb_s", "total_write_gb_s"});
  machine.node_read = storage.number_or("node_read_gb_s", 0) * kGB;
  machine.node_write = storage.number_or("node_write_gb_s", 0) * kGB;
  machine.total_read = storage.number_or("total_read_gb_s", 0) * kGB;
  machine.total_write = storage.number_or("total_write_gb_s", 0) * kGB;
  return machine;
}

// The least of a rank's own rate and its shares of what is common; 0 stands for no limit.
double shared(double own, double node, double total, int per_node, int ranks) {
  double rate = own;
  if (node > 0) rate = std::min(rate, node / per_node);
  if (total > 0) rate = std::min(rate, total / ranks);
  return rate;
}

}  // namespace

Machine parse_machine(const std::string& text, std::string_view where) {
  try {
    return read_machine(YAML::Load(text), where);
  } catch (const YAML::Exception& error) {
    fail(ExitCode::kInput, "{} is no topology file: {} (see configs/topologies for examples)", where, error.what());
  }
}

std::string to_yaml(const Machine& machine, std::string_view comment) {
  std::string out = fmt::format("# {}\nversion: 1\nname: {}\nnode:\n  ranks: {}\n  threads: {}\n  accelerated: {}\n", comment,
                                machine.name, machine.ranks, machine.threads, machine.accelerated);
  out += fmt::format("  memory_gb: {:.4g}\n  gpu_memory_gb: {:.4g}\nrates:  # of {}\n", machine.node_memory / kGB,
                     machine.rank_memory / kGB, machine.accelerated ? "a GPU" : "a thread; read, write and sum: of a rank");
  for (const OpInfo& info : ops()) out += fmt::format("  {}: {:.4g}\n", key_of(info), machine.rates[info.op] / info.unit);
  if (machine.linear_bf16 > 0) out += fmt::format("  linear_bf16_gflops: {:.4g}\n", machine.linear_bf16 / 1e9);
  if (machine.hessian_bf16 > 0) out += fmt::format("  hessian_bf16_gflops: {:.4g}\n", machine.hessian_bf16 / 1e9);
  const auto link = [&](const char* name, const Link& of) {
    out += fmt::format("{}:\n  gb_s: {:.4g}\n  latency_us: {:.4g}\n", name, of.bytes_per_second / kGB, of.latency / kMicro);
  };
  link("link", machine.link);
  link("network", machine.network);
  out += fmt::format(
      "storage:\n  node_read_gb_s: {:.4g}\n  node_write_gb_s: {:.4g}\n  total_read_gb_s: {:.4g}\n  total_write_gb_s: {:.4g}\n",
      machine.node_read / kGB, machine.node_write / kGB, machine.total_read / kGB, machine.total_write / kGB);
  return out;
}

Amount shared_rates(const Machine& machine, int ranks, int per_node, ComputeType compute) {
  Amount rates = machine.rates;
  if (compute == ComputeType::kBF16) {
    if (machine.linear_bf16 > 0) rates[Op::kLinear] = machine.linear_bf16;
    if (machine.hessian_bf16 > 0) rates[Op::kHessian] = machine.hessian_bf16;
  }
  rates[Op::kRead] = shared(rates[Op::kRead], machine.node_read, machine.total_read, per_node, ranks);
  rates[Op::kWrite] = shared(rates[Op::kWrite], machine.node_write, machine.total_write, per_node, ranks);
  return rates;
}

}  // namespace mpiquant
