#include "io/container.h"

#include <fmt/ranges.h>

#include <array>

#include "io/container_compressed_tensors.h"
#include "io/container_dense.h"
#include "io/container_gguf.h"
#include "io/container_gptq.h"
#include "src/base/error.h"

namespace mpiquant {

void Container::pack_part(const ModelSpec&, const TensorPlan& plan, const CodecSpec&, std::int64_t, std::span<const std::uint8_t>,
                          std::span<const GroupParams>, std::span<std::byte>) const {
  fail(ExitCode::kInternal, "internal error: {} is not packed by rows in {}", plan.name, name());
}

std::span<const Container* const> containers() {
  static const std::array<const Container*, 4> table = {&gptq_container(), &compressed_tensors_container(), &gguf_container(),
                                                        &dense_container()};
  return table;
}

const Container& find_container(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Container* container : containers()) {
    if (container->name() == name) return *container;
    names.push_back(container->name());
  }
  fail(ExitCode::kUsage, "--format {} is unknown; use one of {}", name, fmt::join(names, ", "));
}

}  // namespace mpiquant
