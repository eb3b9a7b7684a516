#include "src/text/tokenizer_file.h"

#include <limits>
#include <set>

#include "src/base/error.h"

namespace mpiquant {

namespace {

constexpr int kMaxDepth = 200;

// Watches the events of the parser: refuses repeated keys and takes the members of model.vocab out of the tree.
class VocabFilter {
 public:
  VocabFilter(std::string_view what, TokenizerFile& file) : what_(what), file_(file) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    check(depth <= kMaxDepth, ExitCode::kInput, "{} nests deeper than {} levels (it is damaged or hostile)", what_, kMaxDepth);
    switch (event) {
      case Json::parse_event_t::object_start: levels_.emplace_back(); return true;
      case Json::parse_event_t::object_end: levels_.pop_back(); return true;
      case Json::parse_event_t::key: return take_key(parsed.get_ref<const std::string&>());
      case Json::parse_event_t::value: return !in_vocab() || take_id(parsed);
      case Json::parse_event_t::array_start:
        check(!in_vocab(), ExitCode::kInput, "{} has a vocabulary with a list in it (ids are needed)", what_);
        return true;
      case Json::parse_event_t::array_end: return true;
    }
    return true;
  }

 private:
  struct Level {
    std::set<std::string> keys;
    std::string current;
  };

  bool in_vocab() const { return levels_.size() == 3 && levels_[0].current == "model" && levels_[1].current == "vocab"; }

  bool take_key(const std::string& key) {
    Level& level = levels_.back();
    check(level.keys.insert(key).second, ExitCode::kInput, "{} has the key \"{}\" twice (it is ambiguous) remove one", what_,
          key);
    level.current = key;
    return !in_vocab();
  }

  bool take_id(const Json& value) {
    const bool valid = value.is_number_unsigned() && value.get<std::uint64_t>() < std::numeric_limits<std::int32_t>::max();
    check(valid, ExitCode::kInput, "{} gives the piece \"{}\" the id {} (ids are numbers from 0)", what_, levels_.back().current,
          value.dump());
    file_.vocab.emplace_back(levels_.back().current, value.get<std::int32_t>());
    return false;
  }

  std::string_view what_;
  TokenizerFile& file_;
  std::vector<Level> levels_;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view what) {
  TokenizerFile file;
  VocabFilter filter(what, file);
  try {
    file.root = Json::parse(text.begin(), text.end(),
                            [&](int depth, Json::parse_event_t event, Json& parsed) { return filter(depth, event, parsed); });
  } catch (const nlohmann::json::exception& e) {
    fail(ExitCode::kInput, "{} is not valid JSON ({}) correct it or fetch it again", what, e.what());
  }
  check(file.root.is_object(), ExitCode::kInput, "{} is not a JSON object", what);
  return file;
}

}  // namespace mpiquant
