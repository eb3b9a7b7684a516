#include "src/quant/method.h"

#include <array>

#include "src/base/error.h"
#include "src/quant/gptq.h"
#include "src/quant/rtn.h"

namespace mpiquant {
namespace {

constexpr std::array<Method, 2> kMethods = {{
    {"rtn", false, convert_rtn},
    {"gptq", true, convert_gptq},
}};

}  // namespace

std::span<const Method> methods() { return kMethods; }

const Method& find_method(std::string_view name) {
  std::string known;
  for (const Method& method : kMethods) {
    if (method.name == name) return method;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", method.name);
  }
  fail(ExitCode::kUsage, "there is no method '{}' (it chooses the codes) use one of: {}", name, known);
}

std::vector<std::int32_t> group_index(const CodecSpec& codec, const Factor* factor, std::int64_t cols) {
  const bool dynamic = factor != nullptr && factor->order == ActOrder::kDynamic;
  expect(!dynamic || factor->cols == cols, "groups of {} columns from a factor of {}", cols, dynamic ? factor->cols : 0);
  std::vector<std::int32_t> out(static_cast<std::size_t>(cols));
  for (std::int64_t j = 0; j < cols; ++j) {
    const std::int64_t column = dynamic ? factor->visit[static_cast<std::size_t>(j)] : j;
    out[static_cast<std::size_t>(column)] = static_cast<std::int32_t>(j / codec.group_of(cols));
  }
  return out;
}

}  // namespace mpiquant
