#include "src/run/report_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/json.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMaxReportBytes = std::int64_t{256} << 20;

// Typed access that names file and key in its errors.
class Reader {
 public:
  Reader(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
    check(value_.is_object(), ExitCode::kInput, "{} is not a JSON object (it is no report of mpiquant quantize) give report.json",
          where_);
  }

  const Json* find(const char* key) const {
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }
  const Json& at(const char* key) const {
    const Json* found = find(key);
    check(found != nullptr, ExitCode::kInput, "{} has no \"{}\" (it is no report of mpiquant quantize) give report.json", where_,
          key);
    return *found;
  }
  std::string text(const char* key) const {
    const Json* found = find(key);
    if (found == nullptr) return "";
    check(found->is_string(), ExitCode::kInput, "{}: \"{}\" is not a string (the report is damaged)", where_, key);
    return found->get<std::string>();
  }
  double number(const char* key) const {
    const Json* found = find(key);
    return found == nullptr ? 0 : as_number(*found, key);
  }
  std::int64_t whole(const char* key) const {
    const Json* found = find(key);
    return found == nullptr ? 0 : as_whole(*found, key);
  }
  const Json& list(const char* key) const {
    static const Json kNone = Json::array();
    const Json* found = find(key);
    if (found == nullptr) return kNone;
    check(found->is_array(), ExitCode::kInput, "{}: \"{}\" is not a list (the report is damaged)", where_, key);
    return *found;
  }
  template <typename T>
  std::map<std::string, T> amounts(const char* key) const {
    std::map<std::string, T> out;
    const Json* found = find(key);
    if (found == nullptr) return out;
    check(found->is_object(), ExitCode::kInput, "{}: \"{}\" is not an object (the report is damaged)", where_, key);
    for (const auto& [name, value] : found->items()) {
      if constexpr (std::is_same_v<T, double>)
        out[name] = as_number(value, name);
      else
        out[name] = as_whole(value, name);
    }
    return out;
  }
  // All members that are whole numbers.
  Amounts whole_members() const {
    Amounts out;
    for (const auto& [name, value] : value_.items())
      if (value.is_number_integer()) out[name] = as_whole(value, name);
    return out;
  }
  std::int64_t as_whole(const Json& value, const std::string& key) const {
    const bool fits = value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
    check(fits && value.get<std::int64_t>() >= 0, ExitCode::kInput,
          "{}: \"{}\" is not a whole number from 0 to 2^63 (the report is damaged)", where_, key);
    return value.get<std::int64_t>();
  }

 private:
  double as_number(const Json& value, const std::string& key) const {
    check(value.is_number() && std::isfinite(value.get<double>()), ExitCode::kInput,
          "{}: \"{}\" is not a number (the report is damaged)", where_, key);
    return value.get<double>();
  }
  const Json& value_;
  std::string where_;
};

ReportedTensor read_tensor(const Json& json, const std::vector<std::string>& labels, const std::string& where) {
  const Reader row(json, where);
  std::string outputs;
  for (const Json& index : row.list("outputs")) {
    const std::int64_t at = row.as_whole(index, "outputs");
    check(at < std::ssize(labels), ExitCode::kInput, "{}: output {} of {} (the report is damaged)", where, at, labels.size());
    outputs += (outputs.empty() ? "" : ", ") + labels[static_cast<std::size_t>(at)];
  }
  return {row.text("module"), row.text("codec"), row.number("error"), row.number("damp_percent"), row.whole("damp_retries"),
          row.whole("dead_columns"),
          // Each is a count of scales of one tensor; larger sums are cut off.
          std::min(row.whole("scale_underflows"), INT64_MAX / 2) + std::min(row.whole("scale_overflows"), INT64_MAX / 2),
          outputs};
}

}  // namespace

ReportFile read_report(const std::string& path) {
  const bool folder = path_kind(path) == PathKind::kDirectory;
  const std::string name = folder ? (std::filesystem::path(path) / "report.json").string() : path;
  const Json json = parse_json(read_text_file(name, kMaxReportBytes), name);
  const Reader root(json, name);
  ReportFile report;
  root.at("ranks");
  report.seconds = root.number("seconds");
  report.model = root.text("model");
  report.output = root.text("output");
  report.stages = root.whole("stages");
  report.replicas = root.whole("replicas");
  for (const Json& rank : root.list("ranks")) {
    const Reader row(rank, name + ": a rank");
    report.ranks.push_back({row.amounts<double>("seconds"), row.amounts<std::int64_t>("bytes"), row.whole_members()});
  }
  check(!report.ranks.empty(), ExitCode::kInput, "{} tells of no rank (it is no report of mpiquant quantize) give report.json",
        name);
  for (const Json& cost : root.list("plan")) report.plan.push_back(Reader(cost, name + ": the plan of a rank").whole_members());
  std::vector<std::string> labels;
  for (const Json& output : root.list("outputs")) labels.push_back(Reader(output, name + ": an output").text("label"));
  for (const Json& tensor : root.list("tensors")) report.tensors.push_back(read_tensor(tensor, labels, name + ": a tensor"));
  std::ranges::stable_sort(report.tensors, {}, [](const ReportedTensor& tensor) {
    const std::int64_t layer = layer_of(tensor.module);
    return std::pair(layer < 0 ? INT64_MAX : layer, tensor.module);
  });
  for (const Json& fallback : root.list("fallbacks")) {
    check(fallback.is_string(), ExitCode::kInput, "{}: a fallback is not a string (the report is damaged)", name);
    report.fallbacks.push_back(fallback.get<std::string>());
  }
  return report;
}

std::vector<std::string> ReportFile::phases() const {
  std::map<std::string, double> sums;
  for (const ReportedRank& rank : ranks)
    for (const auto& [phase, value] : rank.seconds) sums[phase] += value;
  std::vector<std::string> names;
  for (const auto& [phase, sum] : sums) names.push_back(phase);
  std::ranges::stable_sort(names, std::ranges::greater{}, [&](const std::string& name) { return sums[name]; });
  return names;
}

double balance(const std::vector<double>& values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return sum > 0 ? std::ranges::max(values) * static_cast<double>(values.size()) / sum : 1;
}

std::int64_t layer_of(const std::string& module) {
  constexpr std::string_view kMark = "layers.";
  const std::size_t at = module.find(kMark);
  if (at == std::string::npos) return -1;
  std::int64_t layer = -1;
  std::from_chars(module.data() + at + kMark.size(), module.data() + module.size(), layer);
  return std::max<std::int64_t>(layer, -1);
}

}  // namespace mpiquant
