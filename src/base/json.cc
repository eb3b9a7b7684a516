#include "src/base/json.h"

#include <set>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {
namespace {

template <typename Value>
Value parse(std::string_view text, std::string_view what) {
  constexpr int kMaxDepth = 200;
  std::vector<std::set<std::string>> keys;
  const auto guard = [&](int depth, typename Value::parse_event_t event, Value& parsed) {
    if (depth > kMaxDepth) fail(ExitCode::kInput, "{} nests deeper than {} levels (it is damaged or hostile)", what, kMaxDepth);
    if (event == Value::parse_event_t::object_start) keys.emplace_back();
    if (event == Value::parse_event_t::object_end) keys.pop_back();
    if (event == Value::parse_event_t::key) {
      const auto& key = parsed.template get_ref<const std::string&>();
      check(keys.back().insert(key).second, ExitCode::kInput, "{} has the key \"{}\" twice (it is ambiguous) remove one", what,
            key);
    }
    return true;
  };
  try {
    return Value::parse(text.begin(), text.end(), guard);
  } catch (const nlohmann::json::exception& e) {
    fail(ExitCode::kInput, "{} is not valid JSON ({}) correct it or fetch it again", what, e.what());
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what) { return parse<Json>(text, what); }
nlohmann::json parse_json_by_key(std::string_view text, std::string_view what) { return parse<nlohmann::json>(text, what); }

}  // namespace mpiquant
