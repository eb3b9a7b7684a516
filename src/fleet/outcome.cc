#include "src/fleet/outcome.h"

#include <filesystem>
#include <sstream>

#include "io/file.h"
#include "io/hf_cache.h"
#include "io/manifest.h"
#include "io/safetensors_source.h"
#include "io/shared_file.h"
#include "src/base/error.h"
#include "src/base/hash.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

bool holds_weights(const fs::path& file) {
  const std::string kind = file.extension().string();
  return kind == ".safetensors" || kind == ".gguf" || kind == ".bin";
}

std::int64_t parameters(const std::string& model) {
  std::int64_t count = 0;
  const SafetensorsSource source(resolve_model(model).directory);
  for (const TensorEntry& entry : source.entries()) count += element_count(entry.shape);
  return count;
}

std::optional<double> number(const Json& json, const char* key) {
  if (!json.contains(key)) return std::nullopt;
  return json.at(key).get<double>();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> output_folders(const std::string& output) {
  if (path_kind(output + "/" + kManifestName) == PathKind::kFile) return {{output, "output"}};
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& name : list_directory(output))
    if (!name.starts_with('.') && path_kind(output + "/" + name + "/" + kManifestName) == PathKind::kFile)
      out.emplace_back(output + "/" + name, name);
  return out;
}

std::optional<StepEnd> step_end(const Attempt& attempt, const std::string& step) {
  const std::string path = attempt.folder + "/" + step + ".exit";
  if (path_kind(path) != PathKind::kFile) return std::nullopt;
  std::istringstream text(read_text_file(path));
  StepEnd end;
  std::string word;
  text >> end.code >> word;
  if (text.fail()) end.code = static_cast<int>(ExitCode::kEnvironment);
  end.cancelled = word == "cancelled";
  return end;
}

void settle_step(const Attempt& attempt, const std::string& step) {
  replace_shared_file(attempt.folder + "/" + step + ".exit", "0 ended\n");
}

std::string output_sums(const std::string& output) {
  if (path_kind(output) != PathKind::kDirectory) return "";
  std::string sums;
  for (const auto& [path, result] : output_folders(output)) sums += read_text_file(path + "/" + kManifestName);
  return sums.empty() ? "" : xxh3_hex(sums);
}

Usage usage_of(const std::string& folder) {
  Usage usage;
  const std::string path = folder + "/usage";
  if (path_kind(path) != PathKind::kFile) return usage;
  std::istringstream lines(read_text_file(path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string step;
    int code = 0;
    double seconds = 0;
    double nodes = 0;
    fields >> step >> code >> seconds >> nodes;
    if (fields.fail()) continue;  // cut off by a full disk
    usage.seconds += seconds;
    usage.node_seconds += seconds * nodes;
    if (code != 0) ++usage.failures;
  }
  return usage;
}

std::string error_in_log(const std::string& path) {
  constexpr std::int64_t kTail = 64 << 10;
  constexpr std::string_view kMark = "mpiquant: error: ";
  if (path_kind(path) != PathKind::kFile) return "";
  const File file = File::open_read(path);
  const std::int64_t begin = std::max<std::int64_t>(0, file.size() - kTail);
  std::string text(static_cast<std::size_t>(file.size() - begin), '\0');
  file.read_at(begin, std::as_writable_bytes(std::span(text)));
  const std::size_t at = text.rfind(kMark);
  if (at == std::string::npos) return "";
  return text.substr(at + kMark.size(), text.find('\n', at) - at - kMark.size());
}

std::vector<FleetOutput> collect_outputs(const Attempt& attempt) {
  std::vector<FleetOutput> outputs;
  const auto weights = static_cast<double>(parameters(attempt.job.model));
  for (const auto& [path, result] : output_folders(attempt.job.output)) {
    FleetOutput output;
    output.path = path;
    output.label = parse_json(read_text_file(path + "/mpiquant.json"), path + "/mpiquant.json").at("output").get<std::string>();
    std::int64_t weight_bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (!entry.is_regular_file()) continue;
      const auto size = static_cast<std::int64_t>(entry.file_size());
      output.bytes += size;
      if (holds_weights(entry.path())) weight_bytes += size;
    }
    output.bits_per_weight = 8 * static_cast<double>(weight_bytes) / weights;
    if (attempt.job.settings.evaluate) {
      const std::string file = attempt.folder + "/results/" + result + ".json";
      const std::optional<Json> figures = read_state(file);
      check(figures.has_value(), ExitCode::kEnvironment, "{} is missing (the evaluation left no result) see its log", file);
      output.perplexity = number(*figures, "perplexity");
      output.reference_perplexity = number(*figures, "reference_perplexity");
      output.kl = number(*figures, "kl_divergence");
      output.kl_error = number(*figures, "kl_standard_error");
      output.top1 = number(*figures, "top1_agreement");
    }
    outputs.push_back(std::move(output));
  }
  check(!outputs.empty(), ExitCode::kEnvironment, "{} holds no output (the run said it was done)", attempt.job.output);
  return outputs;
}

std::vector<std::string> failed_gates(const FleetOutput& output, const FleetGates& gates) {
  std::vector<std::string> failed;
  if (gates.max_perplexity_rise) {
    if (!output.perplexity || !output.reference_perplexity) {
      failed.emplace_back("the rise of perplexity is not known");
    } else if (const double rise = *output.perplexity / *output.reference_perplexity - 1; !(rise <= *gates.max_perplexity_rise)) {
      failed.push_back(
          fmt::format("perplexity rises by {:.2f} %, and {:.2f} % are allowed", 100 * rise, 100 * *gates.max_perplexity_rise));
    }
  }
  if (gates.max_kl) {
    if (!output.kl)
      failed.emplace_back("the KL divergence is not known");
    else if (!(*output.kl <= *gates.max_kl))
      failed.push_back(fmt::format("KL divergence is {:.5f}, and {:.5f} are allowed", *output.kl, *gates.max_kl));
  }
  if (gates.max_size && output.bytes > *gates.max_size)
    failed.push_back(fmt::format("it has {} bytes, and {} are allowed", output.bytes, *gates.max_size));
  return failed;
}

}  // namespace mpiquant
