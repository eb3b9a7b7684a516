#include <algorithm>
#include <iostream>

#include "io/container.h"
#include "io/file.h"
#include "kernels/codec/codec_table.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "src/base/nearest.h"
#include "src/model/architecture.h"
#include "src/plan/recipe_yaml.h"
#include "src/quant/method.h"
#include "src/run/job.h"

namespace mpiquant {
namespace {

// Rows of one table; the first column is the name to use.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

Table list_methods() {
  Table table{{"method", "calibration"}, {}};
  for (const Method& method : methods())
    table.rows.push_back({std::string(method.name), method.needs_hessian ? "needed" : "not needed"});
  return table;
}

Table list_codecs() {
  Table table{{"codec", "about"}, {}};
  for (const CodecInfo& codec : codecs()) table.rows.push_back({std::string(codec.name), std::string(codec.about)});
  return table;
}

Table list_formats() {
  Table table{{"format", "container", "codec"}, {}};
  for (const Container* container : containers()) {
    const std::string name(container->name());
    const std::vector<std::string> codecs = codecs_of(name);
    table.rows.push_back(
        {name, name, name == "gguf" ? "q4_0, q4_1 or q8_0, by bits and sym" : "int, by bits, group_size and sym"});
    for (const std::string& codec : codecs) table.rows.push_back({name + ":" + codec, name, codec});
  }
  return table;
}

Table list_architectures() {
  Table table{{"architecture", "model_type"}, {}};
  for (const Architecture& row : architectures()) table.rows.push_back({std::string(row.name), std::string(row.model_type)});
  return table;
}

Table list_recipes() {
  Table table{{"recipe", "description"}, {}};
  for (const std::string& name : recipe_names()) {
    const std::string path = recipe_path(name);
    table.rows.push_back({name, parse_recipe_yaml(read_text_file(path), path).description});
  }
  return table;
}

struct Kind {
  const char* name;
  Table (*list)();
};
constexpr auto kKinds = std::to_array<Kind>({{"methods", list_methods},
                                             {"codecs", list_codecs},
                                             {"formats", list_formats},
                                             {"architectures", list_architectures},
                                             {"recipes", list_recipes}});

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

Table list(const std::string& what) {
  for (const Kind& kind : kKinds)
    if (kind.name == what) return kind.list();
  fail(ExitCode::kUsage, "\"{}\" is nothing that is listed {}", what, suggestion(what, kind_names()));
}

std::string to_text(const Table& table) {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    widths.push_back(table.columns[c].size());
    for (const auto& row : table.rows) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < cells.size(); ++c) text += fmt::format("{:<{}}  ", cells[c], widths[c]);
    out += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  return out;
}

Json to_json(const Table& table) {
  Json out = Json::array();
  for (const auto& row : table.rows) {
    Json entry = Json::object();
    for (std::size_t c = 0; c < row.size(); ++c) entry[table.columns[c]] = row[c];
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace

CommandPage list_page() {
  OptionGroup group{"Output", {}};
  group.options.add_options()("json", options::bool_switch(), "print JSON: a list of objects");
  return {"mpiquant list methods|codecs|formats|architectures|recipes [OPTIONS]",
          "Prints a table of what this program knows; the first column holds the names that options and recipes take.",
          {group, common_group()},
          {{"what --format takes", "mpiquant list formats"}, {"what --config takes", "mpiquant list recipes --json"}},
          kind_names()};
}

void run_list(CommandContext& context) {
  const CommandPage page = list_page();
  std::string text;
  collectively(context.world, [&] {
    const options::variables_map values = parse(context.arguments, page.all(), {"what"}, "list");
    if (help_wanted(values, "list", page, context.world.rank())) return;
    apply_common(values, context.world.rank());
    check(values.count("what") != 0, ExitCode::kUsage, "what is to be listed is missing {}", suggestion("", kind_names()));
    const Table table = list(values["what"].as<std::string>());
    text = values["json"].as<bool>() ? to_json(table).dump() + "\n" : to_text(table);
  });
  if (context.world.rank() == 0) std::cout << text << std::flush;
}

}  // namespace mpiquant
