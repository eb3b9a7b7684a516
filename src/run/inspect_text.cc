#include <algorithm>
#include <map>

#include "src/base/error.h"
#include "src/run/inspect.h"
#include "src/run/report_file.h"
#include "src/run/terminal_text.h"

namespace mpiquant {
namespace {

constexpr int kBarColumns = 40;

std::string shown_value(const Json& value) {
  constexpr std::size_t kLongest = 100;
  std::string text =
      printable(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (text.size() <= kLongest) return text;
  // Not inside a character of several bytes.
  std::size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

std::string section(const std::string& title, const Json& object) {
  if (!object.is_object() || object.empty()) return "";
  std::string text = "\n" + title + "\n";
  for (const auto& [key, value] : object.items()) text += fmt::format("  {}: {}\n", printable(key), shown_value(value));
  return text;
}

struct TypeSum {
  std::int64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, TypeSum> sums_by_type(const Inspection& found) {
  std::map<std::string, TypeSum> sums;
  for (const TensorFact& tensor : found.tensors) {
    TypeSum& sum = sums[tensor.type];
    ++sum.tensors;
    sum.elements += tensor.elements;
    sum.bytes += tensor.bytes;
  }
  return sums;
}

struct LayerError {
  double sum = 0;
  double worst = -1;
  std::string worst_name;
  std::int64_t fallbacks = 0;
};

double number_of(const Json& row, const char* key) {
  return row.is_object() && row.contains(key) && row[key].is_number() ? row[key].get<double>() : 0;
}

// Bars of the errors that mpiquant.json records, one a layer; what is in no layer has a row of its own.
std::string error_plot(const Json& about) {
  if (!about.is_object() || !about.contains("tensors") || !about["tensors"].is_object()) return "";
  std::map<std::pair<bool, std::int64_t>, LayerError> layers;  // (outside of layers, index)
  for (const auto& [module, row] : about["tensors"].items()) {
    const std::int64_t layer = layer_of(module);
    LayerError& sum = layers[{layer < 0, layer}];
    const double error = number_of(row, "error");
    sum.sum += error;
    sum.fallbacks +=
        number_of(row, "damp_retries") > 0 || number_of(row, "scale_underflows") + number_of(row, "scale_overflows") > 0;
    if (error > sum.worst) {
      sum.worst = error;
      sum.worst_name = module;
    }
  }
  if (layers.empty()) return "";
  double most = 0;
  for (const auto& [key, sum] : layers) most = std::max(most, sum.sum);
  TextTable table({"layer", "error", "", "worst linear", "its error", "fallbacks"});
  table.left_from(2);
  for (const auto& [key, sum] : layers)
    table.add({key.first ? "none" : std::to_string(key.second), fmt::format("{:.3e}", sum.sum),
               bar(most > 0 ? sum.sum / most : 0, kBarColumns), printable(sum.worst_name), fmt::format("{:.3e}", sum.worst),
               std::to_string(sum.fallbacks)});
  return "\nerrors by layer (gptq: |ΔW x|² of a token, summed over outputs and linears; rtn: Σ ΔW²)\n" + table.text();
}

Json types_json(const Inspection& found) {
  Json types = Json::object();
  for (const auto& [type, sum] : sums_by_type(found))
    types[type] = {{"tensors", sum.tensors}, {"elements", sum.elements}, {"bytes", sum.bytes}};
  return types;
}

}  // namespace

Json to_json(const Inspection& found, bool with_tensors) {
  Json files = Json::array();
  for (const FileFact& file : found.files) files.push_back({{"name", file.name}, {"bytes", file.bytes}});
  std::int64_t weights = 0;
  std::int64_t bytes = 0;
  for (const QuantizedFact& fact : found.quantized) {
    weights += fact.weights;
    bytes += fact.bytes;
  }
  Json out = {{"path", found.path},
              {"form", found.form},
              {"files", files},
              {"weights", found.weights},
              {"bytes", found.bytes},
              {"bits_per_weight", found.bits_per_weight()},
              {"quantized",
               {{"linears", found.quantized.size()},
                {"weights", weights},
                {"bytes", bytes},
                {"bits_per_weight", found.quantized_bits_per_weight()}}},
              {"types", types_json(found)},
              {"model", found.model},
              {"quantization_config", found.quantization},
              {"metadata", found.metadata},
              {"tokenizer", found.tokenizer},
              {"mpiquant", found.about}};
  if (!with_tensors) return out;
  Json tensors = Json::array();
  for (const TensorFact& tensor : found.tensors)
    tensors.push_back({{"name", tensor.name}, {"type", tensor.type}, {"shape", tensor.shape}, {"bytes", tensor.bytes}});
  out["tensors"] = std::move(tensors);
  return out;
}

std::string to_text(const Inspection& found, bool with_tensors) {
  std::string text =
      fmt::format("{}: {}, {} tensors in {} file{}, {}\n", printable(found.path), printable(found.form), found.tensors.size(),
                  found.files.size(), found.files.size() == 1 ? "" : "s", shown_bytes(found.bytes));
  text += fmt::format("{} weights, {:.3f} bits a weight", found.weights, found.bits_per_weight());
  if (!found.quantized.empty())
    text +=
        fmt::format("; {} quantized matrices, {:.3f} bits a weight", found.quantized.size(), found.quantized_bits_per_weight());
  TextTable types({"type", "tensors", "elements", "size"});
  for (const auto& [type, sum] : sums_by_type(found))
    types.add({printable(type), std::to_string(sum.tensors), std::to_string(sum.elements), shown_bytes(sum.bytes)});
  text += "\n\n" + types.text();
  text += section("model", found.model);
  text += section("quantization_config", found.quantization);
  text += section("tokenizer", found.tokenizer);
  text += section("metadata", found.metadata);
  if (found.about.is_object() && found.about.contains("recipe")) text += section("recipe (mpiquant.json)", found.about["recipe"]);
  text += error_plot(found.about);
  if (!with_tensors) return text;
  TextTable tensors({"tensor", "type", "shape", "size"});
  tensors.left_from(1);
  for (const TensorFact& tensor : found.tensors)
    tensors.add({printable(tensor.name), printable(tensor.type), fmt::format("[{}]", fmt::join(tensor.shape, ", ")),
                 shown_bytes(tensor.bytes)});
  return text + "\n" + tensors.text();
}

}  // namespace mpiquant
