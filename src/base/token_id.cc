#include "src/base/token_id.h"

#include <limits>

#include "src/base/error.h"

namespace mpiquant {
namespace {

template <typename Value>
std::int32_t read(const Value& value) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const bool fits = value.is_number_unsigned() ? value.template get<std::uint64_t>() <= std::uint64_t{kMost}
                                               : value.is_number_integer() && value.template get<std::int64_t>() >= 0 &&
                                                     value.template get<std::int64_t>() <= kMost;
  check(fits, ExitCode::kInput,
        "{} stands in place of a token's id (ids are whole numbers from 0 on) correct the tokenizer or fetch it again",
        value.dump(-1, ' ', false, Value::error_handler_t::replace));
  return value.template get<std::int32_t>();
}

}  // namespace

std::int32_t token_id(const Json& value) { return read(value); }
std::int32_t token_id(const nlohmann::json& value) { return read(value); }

}  // namespace mpiquant
