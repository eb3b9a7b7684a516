#include "src/run/publish_run.h"

#include <algorithm>

#include "io/file.h"
#include "io/manifest.h"

namespace mpiquant {
std::vector<std::string> fallbacks(const std::vector<TensorRecord>& records) {
  std::vector<std::string> out;
  for (const TensorRecord& record : records) {
    if (record.damp_retries > 0)
      out.push_back(fmt::format("{}: the Hessian needed a damping of {:.2f} ({} retries)", record.module, record.damp_percent,
                                record.damp_retries));
    if (record.scale_underflows + record.scale_overflows > 0)
      out.push_back(fmt::format("{}: {} scales were too small and {} too large for their stored type and were clamped",
                                record.module, record.scale_underflows, record.scale_overflows));
  }
  return out;
}

Json tensor_facts(const std::vector<TensorRecord>& records, std::size_t output) {
  Json tensors = Json::object();
  for (const TensorRecord& record : records) {
    if (std::find(record.outputs.begin(), record.outputs.end(), output) == record.outputs.end()) continue;
    Json row = to_json(record);
    row.erase("module");
    row.erase("outputs");
    tensors[record.module] = std::move(row);
  }
  return tensors;
}

void complete_output(Job& job, const std::filesystem::path& folder, const OutputSpec& output, const RunFacts& facts,
                     const std::vector<FilePlan>& files, const std::vector<std::string>& notes) {
  std::vector<std::string> paths;
  collectively(job.world, [&] {
    std::vector<TextFile> texts = find_container(output.container).metadata(output, facts);
    Json about = {{"program", "mpiquant"},  {"version", facts.program_version}, {"output", output.label},
                  {"recipe", facts.recipe}, {"tensors", facts.tensors},         {"notes", notes}};
    texts.push_back({"mpiquant.json", about.dump(2) + "\n"});
    for (const TextFile& text : texts) {
      paths.push_back(text.path);
      if (job.world.rank() != 0) continue;
      const std::filesystem::path at = folder / text.path;
      std::filesystem::create_directories(at.parent_path());
      write_text_file(at, text.content);
    }
    for (const FilePlan& file : files) paths.push_back(file.path);
  });
  std::sort(paths.begin(), paths.end());
  const auto ranks = static_cast<std::size_t>(job.world.size());
  Json mine = Json::object();
  collectively(job.world, [&] {
    for (auto i = static_cast<std::size_t>(job.world.rank()); i < paths.size(); i += ranks)
      mine[paths[i]] = hash_file_sha256(folder / paths[i]);
  });
  const std::vector<std::string> sums = all_gather_strings(job.world, mine.dump());
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    std::map<std::string, std::string> by_path;
    for (const std::string& text : sums) {
      const Json of_rank = Json::parse(text);
      for (const auto& [path, sum] : of_rank.items()) by_path[path] = sum.get<std::string>();
    }
    write_manifest(folder, by_path);
  });
}

}  // namespace mpiquant
