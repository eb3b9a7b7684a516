#include "src/text/post_processor.h"

#include <string>

#include "src/base/error.h"
#include "src/base/token_id.h"

namespace mpiquant {

namespace {

PostProcessor read_template(const Json& description) {
  PostProcessor result;
  int sequences = 0;
  for (const Json& item : description.at("single")) {
    if (item.contains("Sequence")) {
      check(item.at("Sequence").at("id") == "A", ExitCode::kInput, "the tokenizer's template for one sequence uses a second one");
      ++sequences;
      continue;
    }
    const auto name = item.at("SpecialToken").at("id").get<std::string>();
    auto& target = sequences == 0 ? result.prefix : result.suffix;
    for (const Json& id : description.at("special_tokens").at(name).at("ids")) target.push_back(token_id(id));
  }
  check(sequences == 1, ExitCode::kInput, "the tokenizer's template for one sequence holds it {} times (once is supported)",
        sequences);
  return result;
}

}  // namespace

PostProcessor read_post_processor(const Json& description) {
  if (description.is_null()) return {};
  const auto type = description.at("type").get<std::string>();
  if (type == "ByteLevel") return {};  // trims offsets only
  if (type == "TemplateProcessing") return read_template(description);
  if (type == "BertProcessing" || type == "RobertaProcessing")
    return {{token_id(description.at("cls").at(1))}, {token_id(description.at("sep").at(1))}};
  check(type == "Sequence", ExitCode::kInput,
        "the tokenizer has a post-processor of the unknown type \"{}\" (its token ids cannot be reproduced)", type);
  PostProcessor result;
  for (const Json& step : description.at("processors")) {
    const PostProcessor outer = read_post_processor(step);
    result.prefix.insert(result.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    result.suffix.insert(result.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  }
  return result;
}

}  // namespace mpiquant
