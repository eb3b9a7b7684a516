#include "src/run/structure.h"

#include "io/file.h"
#include "io/gguf.h"
#include "io/safetensors.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// Headers that cannot be read, one line a file.
std::vector<std::string> header_problems(const fs::path& directory, const fs::path& file) {
  std::vector<fs::path> files;
  if (file.empty()) {
    for (const std::string& name : list_directory(directory.string())) files.push_back(directory / name);
  } else {
    files.push_back(file);
  }
  std::vector<std::string> problems;
  for (const fs::path& path : files) {
    const auto error = problem_of([&] {
      if (path.extension() == ".safetensors") parse_safetensors_header(File::open_read(path.string()));
      if (path.extension() == ".gguf") parse_gguf(File::open_read(path.string()));
    });
    if (error) problems.push_back(error->what());
  }
  return problems;
}

}  // namespace

Structure read_structure(const fs::path& directory, const fs::path& file) {
  Structure out;
  out.problems = header_problems(directory, file);
  out.unreadable = problem_of([&] {
    out.model = open_plain_model(file.empty() ? directory.string() : file.string());
    out.spec = parse_config(out.model.config, DType::kF32);
  });
  if (out.unreadable) return out;
  for (std::string& problem : tensor_problems(out.spec, *out.model.source)) out.problems.push_back(std::move(problem));
  return out;
}

}  // namespace mpiquant
