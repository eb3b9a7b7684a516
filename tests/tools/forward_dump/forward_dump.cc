// mq_forward_dump MODEL IDS.json OUT.safetensors [float|q8_0]: runs a model on a JSON list of token ids and writes, in fp32,
// hidden.<i> [T, H] (the output of layer i) and logits [T, V]. q8_0: the linears of layers multiply rounded activations.
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"
#include "io/safetensors_source.h"
#include "src/base/error.h"
#include "src/base/json.h"
#include "src/model/config.h"
#include "tests/model/forward_run.h"

namespace mpiquant {
namespace {

std::vector<std::int32_t> read_ids(const std::string& path) {
  const Json json = parse_json(read_text_file(path), path);
  check(json.is_array() && !json.empty(), ExitCode::kInput, "{} is not a list of token ids", path);
  return json.get<std::vector<std::int32_t>>();
}

void write_run(const ForwardRun& run, const ModelSpec& spec, const std::string& path) {
  std::vector<SafetensorsTensor> tensors = {{"logits", "F32", {run.tokens, spec.vocab}}};
  for (std::size_t i = 0; i < run.hidden.size(); ++i)
    tensors.push_back({"hidden." + std::to_string(i), "F32", {run.tokens, spec.hidden}});
  const SafetensorsLayout layout = build_safetensors_header(tensors);
  File file = File::create(path, layout.file_bytes);
  file.write_at(0, layout.header);
  for (const SafetensorsEntry& entry : layout.entries) {
    const std::size_t dot = entry.name.find('.');
    const std::vector<float>& values = dot == std::string::npos ? run.logits : run.hidden[std::stoul(entry.name.substr(dot + 1))];
    file.write_at(entry.offset, std::as_bytes(std::span(values)));
  }
  file.close();
}

void dump(const std::string& model, const std::string& ids_path, const std::string& out, bool rounded) {
  const SafetensorsSource source(model);
  ModelSpec spec = read_model(model, source);
  for (LayerSpec& layer : spec.layers)
    for (BlockSpec& block : layer.blocks)
      for (LinearSpec& linear : block.linears) linear.rounded_input = rounded;
  const std::vector<std::int32_t> ids = read_ids(ids_path);
  const auto backend = make_cpu_backend(1);
  write_run(run_forward(source, spec, ids, {static_cast<std::int64_t>(ids.size())}, *backend), spec, out);
}

}  // namespace
}  // namespace mpiquant

int main(int argc, char** argv) {
  try {
    const std::string activations = argc == 5 ? argv[4] : "float";
    mpiquant::check((argc == 4 || argc == 5) && (activations == "float" || activations == "q8_0"), mpiquant::ExitCode::kUsage,
                    "usage: mq_forward_dump MODEL IDS.json OUT.safetensors [float|q8_0]");
    mpiquant::dump(argv[1], argv[2], argv[3], activations == "q8_0");
    return 0;
  } catch (const mpiquant::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "internal error: %s\n", e.what());
    return 1;
  }
}
