#include "src/run/publish_run.h"

#include <algorithm>
#include <set>

#include "io/file.h"
#include "src/base/hash.h"

namespace mpiquant {
std::vector<std::string> fallbacks(const std::vector<TensorRecord>& records) {
  std::vector<std::string> out;
  std::set<std::string> damped;  // codecs of one linear share its factor
  for (const TensorRecord& record : records) {
    if (record.damp_retries > 0 && damped.insert(record.module).second)
      out.push_back(fmt::format("{}: the Hessian needed a damping of {:.2f} ({} retries)", record.module, record.damp_percent,
                                record.damp_retries));
    if (record.scale_underflows + record.scale_overflows > 0)
      out.push_back(fmt::format("{} ({}): {} scales were too small and {} too large for their stored type and were clamped",
                                record.module, record.codec, record.scale_underflows, record.scale_overflows));
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
                     FileSums sums, const std::vector<std::string>& notes) {
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    std::vector<TextFile> texts = find_container(output.container).metadata(output, facts);
    std::vector<std::string> all_notes = notes;
    for (const std::string& note : facts.notes) all_notes.push_back(output.label + ": " + note);
    const Json about = {{"program", "mpiquant"},  {"version", facts.program_version}, {"output", output.label},
                        {"recipe", facts.recipe}, {"tensors", facts.tensors},         {"notes", all_notes}};
    texts.push_back({"mpiquant.json", about.dump(2) + "\n"});
    for (const TextFile& text : texts) {
      const std::filesystem::path at = folder / text.path;
      std::filesystem::create_directories(at.parent_path());
      write_text_file(at, text.content);
      sums[text.path] = sha256_hex(text.content);
    }
  });
  const std::vector<std::string> all = all_gather_strings(job.world, Json(sums).dump());
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    for (const std::string& text : all) sums.merge(Json::parse(text).get<FileSums>());
    write_manifest(folder, sums);
  });
}

}  // namespace mpiquant
