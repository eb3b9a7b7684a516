#include "src/model/architecture.h"

#include <algorithm>
#include <array>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::array kArchitectures = {
    Architecture{"LlamaForCausalLM", "llama", describe_llama},
    Architecture{"MistralForCausalLM", "mistral", describe_mistral},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

std::string supported_architectures() {
  std::string names;
  for (const Architecture& row : kArchitectures) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

const Architecture& find_architecture(std::string_view name) {
  const auto row = std::ranges::find(kArchitectures, name, &Architecture::name);
  check(row != kArchitectures.end(), ExitCode::kInput, "config.json: architecture '{}' is not supported; supported: {}", name,
        supported_architectures());
  return *row;
}

}  // namespace mpiquant
