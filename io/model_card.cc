#include "io/model_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "io/compressed_tensors_config.h"
#include "io/file.h"
#include "io/hf_cache.h"

namespace mpiquant {
namespace {

// Entries of the source card's YAML front matter that hold for the output too, as they stand there.
std::vector<std::string> inherited_lines(const std::string& model_dir) {
  const std::filesystem::path path = std::filesystem::path(model_dir) / "README.md";
  std::vector<std::string> lines;
  if (!std::filesystem::is_regular_file(path)) return lines;
  std::istringstream text(read_text_file(path));
  std::string line;
  if (!std::getline(text, line) || !line.starts_with("---")) return lines;
  bool wanted = false;
  while (std::getline(text, line) && !line.starts_with("---")) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const bool continues = line.starts_with("-") || line.starts_with(" ");  // of a list or a folded scalar
    if (!continues) {
      const std::string key = line.substr(0, line.find(':'));
      wanted = key == "license" || key == "license_name" || key == "license_link" || key == "language";
    }
    if (wanted) lines.push_back(line);
  }
  return lines;
}

std::string describe_codecs(const OutputSpec& output) {
  std::vector<std::pair<std::string, int>> counts;
  for (const LinearChoice& choice : output.linears) {
    const std::string text = to_string(choice.codec);
    const auto found = std::ranges::find(counts, text, &std::pair<std::string, int>::first);
    if (found == counts.end())
      counts.emplace_back(text, 1);
    else
      ++found->second;
  }
  std::string text;
  for (const auto& [codec, count] : counts) text += fmt::format("| {} | {} linear layers |\n", codec, count);
  return text;
}

std::string python(const std::string& package, const std::string& classes, const std::string& call) {
  return fmt::format("```python\nfrom {} import {}\n\nmodel = {}\n```\n\n", package, classes, call);
}

// Code that loads the output, where a reader does; notes say what to mind.
std::string how_to_load(const OutputSpec& output, const RunFacts& facts) {
  const std::string path = "\"path or id of this repository\"";
  const std::string plain = python("transformers", "AutoModelForCausalLM", "AutoModelForCausalLM.from_pretrained(" + path + ")");
  if (output.container == "gguf") return "Load the `.gguf` file with llama.cpp or any program built on it.\n";
  if (output.container == "gptq") {
    if (!facts.notes.empty()) return python("gptqmodel", "GPTQModel", "GPTQModel.load(" + path + ")") + "Format: gptq.\n";
    return plain + "Format: gptq. Transformers needs the packages `gptqmodel` and `optimum` for it.\n";
  }
  if (output.container != "compressed-tensors") return plain + fmt::format("Format: {}.\n", output.container);
  std::string code = plain;
  if (is_asymmetric(output))
    code = is_mixed(output) ? ""
                            : python("transformers", "AutoModelForCausalLM, CompressedTensorsConfig",
                                     "AutoModelForCausalLM.from_pretrained(\n    " + path +
                                         ", quantization_config=CompressedTensorsConfig(dequantize=True))");
  return code + "Format: compressed-tensors. Transformers needs the package `compressed-tensors` for it.\n";
}

}  // namespace

std::string source_license(const std::string& model_dir) {
  const std::string key = "license:";
  for (const std::string& line : inherited_lines(model_dir))
    if (line.starts_with(key)) {
      const std::size_t begin = line.find_first_not_of(" \t", key.size());
      return begin == std::string::npos ? "" : line.substr(begin);
    }
  return "";
}

TextFile model_card(const OutputSpec& output, const RunFacts& facts) {
  std::string text = "---\n";
  for (const std::string& line : inherited_lines(facts.model_dir)) text += line + "\n";
  text += output.container == "gguf" ? "library_name: gguf\n" : "library_name: transformers\n";
  text += "pipeline_tag: text-generation\n";
  if (is_hub_id(facts.model_name)) text += fmt::format("base_model: {}\nbase_model_relation: quantized\n", facts.model_name);
  text += fmt::format("tags:\n- {}\n", output.container);
  if (facts.method != output.container) text += fmt::format("- {}\n", facts.method);
  text += "- mpiquant\n---\n\n";
  text += fmt::format("# {} ({})\n\n", facts.model_name, output.label);
  text +=
      fmt::format("{} quantized by mpiquant {} with the method `{}`.\n\n", facts.model_name, facts.program_version, facts.method);
  if (!output.linears.empty()) text += "| codec | used by |\n|---|---|\n" + describe_codecs(output) + "\n";
  if (facts.method == "gptq")
    text += fmt::format("Activation order: {}. Damping: {}. True-sequential: {}. Scale search: {}.{}\n\n", facts.act_order,
                        facts.damp_percent, facts.true_sequential ? "yes" : "no", facts.mse ? "yes" : "no",
                        facts.gptaq_alpha > 0 ? fmt::format(" GPTAQ, alpha: {}.", facts.gptaq_alpha) : "");
  for (const std::string& transform : facts.transforms)
    text += fmt::format(
        "The weights were rewritten before (`--transform {}`): but for rounding, the network computes the same function.\n\n",
        transform);
  text += how_to_load(output, facts);
  for (const std::string& note : facts.notes) text += fmt::format("\nNote: {}.\n", note);
  text += "\n`mpiquant.json` holds the whole recipe and the error of every tensor.\n";
  return {"README.md", text};
}

}  // namespace mpiquant
