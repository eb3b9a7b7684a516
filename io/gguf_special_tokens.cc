#include "io/gguf_special_tokens.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <optional>
#include <set>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/json.h"
#include "src/base/token_id.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;
using KeyedJson = nlohmann::json;

struct Kind {
  const char* hf;    // tokenizer_config.json: "bos_token", config.json: "bos_token_id"
  const char* gguf;  // tokenizer.ggml.<gguf>_token_id
};
constexpr std::array<Kind, 7> kKinds = {{{"bos", "bos"},
                                         {"eos", "eos"},
                                         {"unk", "unknown"},
                                         {"sep", "seperator"},  // so spelled by the format
                                         {"pad", "padding"},
                                         {"cls", "cls"},
                                         {"mask", "mask"}}};

KeyedJson read_object(const fs::path& path) {
  if (!fs::is_regular_file(path)) return KeyedJson::object();
  KeyedJson json = parse_json_by_key(read_text_file(path), path.string());
  check(json.is_object(), ExitCode::kInput, "{} is not a JSON object", path.string());
  return json;
}

// "bos_token": "<s>" or {"content": "<s>", …}
std::string content_of(const KeyedJson& config, const std::string& key) {
  if (!config.contains(key)) return "";
  const KeyedJson& entry = config[key];
  if (entry.is_string()) return entry.get<std::string>();
  return entry.is_object() ? entry.value("content", "") : "";
}

std::optional<std::int64_t> id_of_content(const KeyedJson& tokenizer, const KeyedJson& config, const std::string& content) {
  if (tokenizer.is_object())
    for (const KeyedJson& token : tokenizer.value("added_tokens", KeyedJson::array()))
      if (token.value("content", "") == content && token.contains("id")) return token_id(token["id"]);
  const KeyedJson decoder = config.value("added_tokens_decoder", KeyedJson::object());
  for (const auto& [id, token] : decoder.items())
    if (token.value("content", "") == content) return std::stoll(id);
  return std::nullopt;
}

// Whether TemplateProcessing puts a special token first or last.
void read_template(const KeyedJson& processor, GgufSpecialTokens& tokens) {
  if (!processor.is_object()) return;
  if (processor.value("type", "") == "Sequence") {
    for (const KeyedJson& inner : processor.value("processors", KeyedJson::array())) read_template(inner, tokens);
    return;
  }
  if (processor.value("type", "") != "TemplateProcessing") return;
  const KeyedJson single = processor.value("single", KeyedJson::array());
  tokens.add_bos = single.size() > 1 && single.front().contains("SpecialToken");
  tokens.add_eos = single.size() > 1 && single.back().contains("SpecialToken");
}

std::string plain_name(std::string name) {
  std::ranges::replace_if(
      name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

void read_chat_templates(const fs::path& dir, const KeyedJson& config, GgufSpecialTokens& tokens) {
  const auto add = [&](const std::string& name, const std::string& source) {
    tokens.chat_templates.emplace_back(name == "default" ? "" : plain_name(name), source);
  };
  const KeyedJson given = config.value("chat_template", KeyedJson());
  if (given.is_string()) return add("default", given.get<std::string>());
  if (given.is_array()) {
    for (const KeyedJson& entry : given)
      if (entry.contains("name") && entry.contains("template"))
        add(entry["name"].get<std::string>(), entry["template"].get<std::string>());
    return;
  }
  if (fs::is_regular_file(dir / "chat_template.jinja")) {
    add("default", read_text_file(dir / "chat_template.jinja"));
    std::set<fs::path> further;
    if (fs::is_directory(dir / "additional_chat_templates"))
      for (const auto& entry : fs::directory_iterator(dir / "additional_chat_templates"))
        if (entry.path().extension() == ".jinja") further.insert(entry.path());
    for (const fs::path& path : further) add(path.stem().string(), read_text_file(path));
    return;
  }
  const std::string source = read_object(dir / "chat_template.json").value("chat_template", "");
  if (!source.empty()) add("default", source);
}

GgufSpecialTokens read(const fs::path& dir, const KeyedJson& tokenizer, std::int64_t rows, bool bos_by_default) {
  const KeyedJson config = read_object(dir / "tokenizer_config.json");
  const KeyedJson model = read_object(dir / "config.json");
  GgufSpecialTokens tokens;
  tokens.add_bos = bos_by_default;
  if (tokenizer.is_object()) read_template(tokenizer.value("post_processor", KeyedJson()), tokens);
  for (const Kind& kind : kKinds) {
    const std::string name = kind.hf;
    std::optional<std::int64_t> id;
    const std::string content = content_of(config, name + "_token");
    if (!content.empty()) id = id_of_content(tokenizer, config, content);
    if (!id && model.contains(name + "_token_id") && model[name + "_token_id"].is_number_integer())
      id = model[name + "_token_id"].get<std::int64_t>();
    if (id && *id >= 0 && *id < rows) tokens.ids.emplace_back(kind.gguf, static_cast<std::uint32_t>(*id));
  }
  if (config.contains("add_bos_token") && config["add_bos_token"].is_boolean())
    tokens.add_bos = config["add_bos_token"].get<bool>();
  if (config.contains("add_eos_token") && config["add_eos_token"].is_boolean())
    tokens.add_eos = config["add_eos_token"].get<bool>();
  read_chat_templates(dir, config, tokens);
  return tokens;
}

}  // namespace

GgufSpecialTokens read_special_tokens(const std::string& model_dir, const KeyedJson& tokenizer, std::int64_t rows,
                                      bool bos_by_default) {
  try {
    return read(model_dir, tokenizer, rows, bos_by_default);
  } catch (const KeyedJson::exception& error) {
    fail(ExitCode::kInput, "the tokenizer files of {} hold a value of an unexpected type: {}", model_dir, error.what());
  }
}

}  // namespace mpiquant
