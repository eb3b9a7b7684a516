#include "src/text/calibration_text.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/text/helper_process.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

using Documents = std::vector<std::string>;

// Calls body(line, number) for every line of `text` that is not blank, counted from 1.
template <typename Body>
void for_each_line(std::string_view text, const Body& body) {
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) body(line, number);
  }
}

Documents helper_documents(const TextSources& sources, const std::vector<std::string>& arguments, const std::string& what) {
  check(!sources.helper.empty(), ExitCode::kUsage, "{} needs the Python helper hf_text.py (its place is not known)", what);
  std::vector<std::string> command{sources.python, sources.helper};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const std::string output = run_helper(command);
  Documents documents;
  for_each_line(output, [&](std::string_view line, int number) {
    const Json record = parse_json(line, fmt::format("line {} of what the helper wrote of {}", number, what));
    documents.push_back(record.at("text").get<std::string>());
  });
  return documents;
}

bool is_chat(const Json& record, const std::string& field) {
  const auto holds_list = [&](const char* name) { return record.contains(name) && record.at(name).is_array(); };
  return record.is_object() &&
         ((!record.contains(field) && holds_list("messages")) || (field == "messages" && holds_list("messages")));
}

std::string document_of(const Json& record, const std::string& field, const std::string& where) {
  if (record.is_string()) return record.get<std::string>();
  check(record.is_object() && record.contains(field), ExitCode::kInput,
        "{} has no field \"{}\" (the text of a document is looked for there) name the right one with --field", where, field);
  check(record.at(field).is_string(), ExitCode::kInput,
        "{} has something else than text in its field \"{}\" (a document is a string) name another with --field", where, field);
  return record.at(field).get<std::string>();
}

Documents chat_documents(const std::string& path, const TextSources& sources) {
  return helper_documents(sources, {"--messages", path, "--model", sources.model}, path);
}

Documents read_jsonl(const std::string& path, const std::string& text, const TextSources& sources) {
  Documents documents;
  bool chats = false;
  for_each_line(text, [&](std::string_view line, int number) {
    const std::string where = fmt::format("{}, line {}", path, number);
    const Json record = parse_json(line, where);
    if (number == 1 || documents.empty()) chats = chats || is_chat(record, sources.field);
    if (!chats) documents.push_back(document_of(record, sources.field, where));
  });
  return chats ? chat_documents(path, sources) : documents;
}

Documents read_json(const std::string& path, const std::string& text, const TextSources& sources) {
  Json root = parse_json(text, path);
  // {"field": […]} holds a list of documents in its field.
  if (root.is_object() && root.contains(sources.field)) {
    Json values = root.at(sources.field);
    root = values.is_array() ? std::move(values) : Json::array({std::move(values)});
  }
  check(root.is_array(), ExitCode::kInput, "{} is neither a list of documents nor an object with the field \"{}\"", path,
        sources.field);
  if (!root.empty() && is_chat(root.front(), sources.field)) return chat_documents(path, sources);
  Documents documents;
  for (std::size_t i = 0; i < root.size(); ++i)
    documents.push_back(document_of(root[i], sources.field, fmt::format("{}, entry {}", path, i + 1)));
  return documents;
}

Documents read_source(const std::string& source, const TextSources& sources) {
  if (source.starts_with("hf:"))
    return helper_documents(sources, {"--dataset", source, "--field", sources.field, "--model", sources.model}, source);
  std::string text = read_text_file(source);
  check(!text.empty(), ExitCode::kInput, "{} is empty (there is no text to cut) name another file", source);
  check_utf8(text, source);
  const std::string suffix = std::filesystem::path(source).extension().string();
  if (suffix == ".jsonl") return read_jsonl(source, text, sources);
  if (suffix == ".json") return read_json(source, text, sources);
  return {std::move(text)};
}

class TextHash {
 public:
  void add(std::string_view document) {
    update(fmt::format("{}\n", document.size()));
    update(document);
  }
  std::string hex() const { return hash_.hex(); }

 private:
  void update(std::string_view bytes) { hash_.update(std::as_bytes(std::span(bytes))); }
  Xxh3 hash_;
};

}  // namespace

CalibrationText read_calibration_text(const TextSources& sources) {
  check(!sources.files.empty() || !sources.strings.empty(), ExitCode::kUsage,
        "there is no calibration text (give --calibration)");
  CalibrationText result;
  result.sources = Json::array();
  TextHash hash;
  const auto add = [&](const std::string& name, Documents documents) {
    std::erase_if(documents, [](const std::string& document) { return document.empty(); });
    check(!documents.empty(), ExitCode::kInput, "{} has no text (all its documents are empty)", name);
    std::size_t bytes = 0;
    for (std::string& document : documents) {
      check_utf8(document, fmt::format("a document of {}", name));
      bytes += document.size();
      hash.add(document);
      result.documents.push_back(std::move(document));
    }
    const bool data_set = name.starts_with("hf:");
    result.sources.push_back({{"name", data_set ? name : std::filesystem::path(name).filename().string()},
                              {"documents", documents.size()},
                              {"bytes", bytes}});
  };
  for (const std::string& source : sources.files) add(source, read_source(source, sources));
  if (!sources.strings.empty()) add("strings of the command line", sources.strings);
  result.hash = hash.hex();
  return result;
}

}  // namespace mpiquant
