#include "src/run/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "io/file.h"
#include "io/gguf.h"
#include "io/hf_cache.h"
#include "io/manifest.h"
#include "io/quantized_source.h"
#include "io/safetensors.h"
#include "src/base/error.h"
#include "src/base/threads.h"
#include "src/comm/collectives.h"
#include "src/model/config.h"
#include "src/run/rotated_source.h"
#include "src/run/structure.h"
#include "src/run/terminal_text.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// Values that a thread decodes at a time, unless one row is longer.
constexpr std::int64_t kPieceValues = std::int64_t{1} << 20;

struct Place {
  fs::path directory;
  fs::path file;  // of a GGUF or safetensors file on its own; empty for a directory

  std::string model() const { return file.empty() ? directory.string() : file.string(); }
};

Place find_place(const std::string& path) {
  if (path_kind(path) == PathKind::kFile) return {fs::absolute(path).parent_path(), path};
  return {resolve_model(path).directory, {}};
}

bool states_architecture(const Place& place) { return path_kind((place.directory / "config.json").string()) == PathKind::kFile; }

// What differs from SHA256SUMS, in the order of the paths; the ranks share the files.
void check_sums(Communicator& world, const Place& place, Verification& result) {
  if (path_kind((place.directory / kManifestName).string()) != PathKind::kFile) return;
  FileSums sums;
  std::optional<Error> damaged;
  agree(world, attempt([&] { damaged = problem_of([&] { sums = read_manifest(place.directory.string()); }); }));
  if (damaged) {
    result.has_sums = true;
    result.problems.push_back(damaged->what());
    return;
  }
  if (!place.file.empty()) std::erase_if(sums, [&](const auto& row) { return row.first != place.file.filename().string(); });
  result.has_sums = !sums.empty();
  result.files = static_cast<std::int64_t>(sums.size());
  Json mine = Json::array();
  agree(world, attempt([&] {
          int turn = 0;
          for (const auto& [path, digest] : sums) {
            if (turn++ % world.size() != world.rank()) continue;
            const std::string whole = (place.directory / path).string();
            if (path_kind(whole) != PathKind::kFile)
              mine.push_back(fmt::format("{}: missing ({} names it)", path, kManifestName));
            else if (hash_file_sha256(whole) != digest)
              mine.push_back(fmt::format("{}: content differs from {}", path, kManifestName));
          }
        }));
  std::vector<std::string> found;
  for (const std::string& text : all_gather_strings(world, mine.dump(-1, ' ', false, Json::error_handler_t::replace))) {
    const Json rows = Json::parse(text);
    for (const Json& row : rows) found.push_back(row.get<std::string>());
  }
  if (place.file.empty())
    for (const std::string& path : files_below(place.directory.string()))
      if (!sums.contains(path)) found.push_back(fmt::format("{}: not in {}", path, kManifestName));
  std::ranges::sort(found);
  result.problems.insert(result.problems.end(), found.begin(), found.end());
}

struct Original {
  PlainModel model;
  ModelSpec spec;
  std::unique_ptr<TensorSource> rotated;  // as the output was made of it, if not of the model itself

  const TensorSource& source() const { return rotated ? *rotated : *model.source; }
};

// Whether the output says that it was made of a rotated model: a GGUF file itself, a repository in mpiquant.json.
bool says_rotated(const Place& place) {
  if (place.file.extension() == ".gguf") {
    const GgufHeader header = parse_gguf(File::open_read(place.file.string()));
    const auto* names = header.get<std::vector<std::string>>("mpiquant.transforms");
    return names != nullptr && *names == std::vector<std::string>{std::string(kRotation)};
  }
  const std::string path = (place.directory / "mpiquant.json").string();
  if (path_kind(path) != PathKind::kFile) return false;
  const Json record = parse_json(read_text_file(path), path);
  const Json::json_pointer transforms("/recipe/transforms");
  return record.contains(transforms) && record[transforms] == Json{kRotation};
}

// Names and sizes must be equal. `named`: both state their architecture; a GGUF file on its own does not tell Mistral from Llama.
void check_same_model(const ModelSpec& mine, const ModelSpec& other, bool named, const std::string& path) {
  check(!named || mine.architecture == other.architecture, ExitCode::kInput,
        "{} is a {}, the output a {} (only forms of one model can be compared) name the original", path, other.architecture,
        mine.architecture);
  const auto sizes = [](const ModelSpec& spec) {
    return std::vector<std::int64_t>{static_cast<std::int64_t>(spec.layers.size()),
                                     spec.hidden,
                                     spec.intermediate,
                                     spec.heads,
                                     spec.kv_heads,
                                     spec.head_dim,
                                     spec.vocab};
  };
  check(sizes(mine) == sizes(other), ExitCode::kInput,
        "{} has other sizes than the output: [{}] and [{}] (layers, hidden, intermediate, heads, key-value heads, head size, "
        "vocabulary) name the original",
        path, fmt::join(sizes(other), ", "), fmt::join(sizes(mine), ", "));
}

// The tensor of the original that this one was made of: an untied head was the embedding. Empty when there is none of its shape.
std::string original_name(const TensorEntry& entry, const ModelSpec& mine, const Original& original) {
  const std::string& name = entry.name == mine.head.weight() && original.spec.tied ? original.spec.embedding : entry.name;
  const TensorEntry* found = original.source().find(name);
  return found != nullptr && found->shape == entry.shape && found->dtype && is_float(*found->dtype) ? name : "";
}

// Rows of one tensor that are decoded at a time.
struct Piece {
  std::size_t entry;
  std::int64_t begin, end;
};

struct PieceResult {
  std::int64_t bad = -1;  // index of the first value that is not finite, from the beginning of the tensor
  double bad_value = 0;
  double difference = 0;  // Σ (w - w')²
  double norm = 0;        // Σ w²
};

std::int64_t row_length(const TensorEntry& entry) {
  return entry.shape.size() < 2 ? 1 : element_count(entry.shape) / std::max<std::int64_t>(entry.shape[0], 1);
}

// originals: by entry, the tensor of `original` to compare with, or "".
std::vector<Piece> cut(const TensorSource& source, const TensorSource* original, const std::vector<std::string>& originals) {
  std::vector<Piece> pieces;
  const std::span<const TensorEntry> entries = source.entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].dtype || !is_float(*entries[i].dtype) || element_count(entries[i].shape) == 0) continue;
    const std::int64_t rows = entries[i].rows();
    const std::int64_t block = originals[i].empty() ? 1 : original->row_block(originals[i]);
    const std::int64_t step = std::max<std::int64_t>(kPieceValues / row_length(entries[i]) / block, 1) * block;
    for (std::int64_t row = 0; row < rows; row += step) pieces.push_back({i, row, std::min(rows, row + step)});
  }
  return pieces;
}

PieceResult decode_piece(const TensorSource& source, const Piece& piece, const TensorSource* original,
                         const std::string& original_tensor) {
  const TensorEntry& entry = source.entries()[piece.entry];
  const std::int64_t cols = row_length(entry);
  std::vector<float> values(static_cast<std::size_t>((piece.end - piece.begin) * cols));
  source.read_rows(entry.name, piece.begin, piece.end, values);
  PieceResult result;
  if (const auto bad = first_non_finite(values)) {
    result.bad = piece.begin * cols + static_cast<std::int64_t>(*bad);
    result.bad_value = static_cast<double>(values[*bad]);
  }
  if (original == nullptr) return result;
  std::vector<float> reference(values.size());
  original->read_rows(original_tensor, piece.begin, piece.end, reference);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double w = static_cast<double>(reference[i]);
    const double difference = static_cast<double>(values[i]) - w;
    result.difference += difference * difference;
    result.norm += w * w;
  }
  return result;
}

// All pieces, shared by ranks and threads; every rank gets all results.
std::vector<PieceResult> decode_all(Communicator& world, int threads, const std::vector<Piece>& pieces,
                                    const std::function<PieceResult(const Piece&)>& decode) {
  const auto ranks = static_cast<std::size_t>(world.size());
  const auto rank = static_cast<std::size_t>(world.rank());
  std::vector<PieceResult> mine((pieces.size() + ranks - 1 - rank) / ranks);
  agree(world, attempt([&] {
          ThreadPool pool(threads);
          pool.for_each(static_cast<std::int64_t>(mine.size()), [&](std::int64_t i) {
            mine[static_cast<std::size_t>(i)] = decode(pieces[static_cast<std::size_t>(i) * ranks + rank]);
          });
        }));
  const auto gathered = all_gather_bytes(world, std::as_bytes(std::span(mine)));
  std::vector<PieceResult> all(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i)
    std::memcpy(&all[i], gathered[i % ranks].data() + i / ranks * sizeof(PieceResult), sizeof(PieceResult));
  return all;
}

void check_values(Communicator& world, const VerifyRequest& request, const TensorSource& source, const ModelSpec& spec,
                  const Original* original, Verification& result) {
  const std::span<const TensorEntry> entries = source.entries();
  std::vector<std::string> originals;
  for (const TensorEntry& entry : entries) originals.push_back(original == nullptr ? "" : original_name(entry, spec, *original));
  const std::vector<Piece> pieces = cut(source, original == nullptr ? nullptr : &original->source(), originals);
  const auto found = decode_all(world, request.threads, pieces, [&](const Piece& piece) {
    const std::string& name = originals[piece.entry];
    return decode_piece(source, piece, name.empty() ? nullptr : &original->source(), name);
  });
  std::map<std::size_t, PieceResult> by_tensor;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    PieceResult& sum = by_tensor[pieces[i].entry];
    if (sum.bad < 0 && found[i].bad >= 0) {
      sum.bad = found[i].bad;
      sum.bad_value = found[i].bad_value;
    }
    sum.difference += found[i].difference;
    sum.norm += found[i].norm;
    result.values += (pieces[i].end - pieces[i].begin) * row_length(entries[pieces[i].entry]);
  }
  result.tensors = static_cast<std::int64_t>(entries.size());
  for (const auto& [index, sum] : by_tensor) {
    const TensorEntry& entry = entries[index];
    const std::int64_t cols = row_length(entry);
    if (sum.bad >= 0)
      result.problems.push_back(
          fmt::format("{} holds {} at row {}, column {}", entry.name, sum.bad_value, sum.bad / cols, sum.bad % cols));
    if (!originals[index].empty())
      result.distances.push_back({entry.name, sum.difference == 0 ? 0 : std::sqrt(sum.difference / sum.norm)});
  }
}

}  // namespace

const TensorDistance* Verification::worst() const {
  const auto found = std::ranges::max_element(distances, {}, &TensorDistance::relative_error);
  return found == distances.end() ? nullptr : &*found;
}

Verification verify(Communicator& world, const VerifyRequest& request) {
  Verification result;
  result.path = request.path;
  Place place;
  PlainModel model;
  ModelSpec spec;
  std::optional<Error> unreadable;
  std::optional<Original> original;
  agree(world, attempt([&] { place = find_place(request.path); }));
  check_sums(world, place, result);
  agree(world, attempt([&] {
          Structure structure = read_structure(place.directory, place.file);
          result.problems.insert(result.problems.end(), structure.problems.begin(), structure.problems.end());
          unreadable = structure.unreadable;
          model = std::move(structure.model);
          spec = std::move(structure.spec);
          if (unreadable || !request.against) return;
          const Place other = find_place(*request.against);
          original.emplace(Original{open_plain_model(other.model()), {}, {}});
          original->spec = parse_config(original->model.config, DType::kF32);
          check_tensors(original->spec, *original->model.source);
          check_same_model(spec, original->spec, states_architecture(place) && states_architecture(other), *request.against);
          bool rotated = false;
          if (const auto damaged = problem_of([&] { rotated = says_rotated(place) && !says_rotated(other); }))
            result.problems.push_back(damaged->what());
          if (!rotated) return;
          original->rotated = std::make_unique<RotatedSource>(*original->model.source, original->spec);
          original->spec = rotated_spec(original->spec);
        }));
  if (unreadable) {
    // Of another program's form nothing is said but that it is not read here.
    const bool own = path_kind((place.directory / "mpiquant.json").string()) == PathKind::kFile;
    agree(world, own || !result.problems.empty() ? std::nullopt : unreadable);
    const std::string text = unreadable->what();
    if (std::ranges::find(result.problems, text) == result.problems.end()) result.problems.push_back(text);
    return result;
  }
  check_values(world, request, *model.source, spec, original ? &*original : nullptr, result);
  result.compared = original.has_value();
  return result;
}

Json to_json(const Verification& result) {
  Json out = {{"path", result.path},       {"ok", result.problems.empty()}, {"sums", result.has_sums},    {"files", result.files},
              {"tensors", result.tensors}, {"values", result.values},       {"problems", result.problems}};
  if (!result.compared) return out;
  Json errors = Json::object();
  for (const TensorDistance& distance : result.distances) errors[distance.name] = distance.relative_error;
  out["relative_errors"] = std::move(errors);
  if (const TensorDistance* worst = result.worst(); worst != nullptr)
    out["worst"] = {{"name", worst->name}, {"relative_error", worst->relative_error}};
  return out;
}

std::string to_text(const Verification& result) {
  constexpr std::size_t kShown = 5;
  std::string text = result.has_sums ? fmt::format("{} files compared with SHA256SUMS\n", result.files)
                                     : "no SHA256SUMS: contents are not compared\n";
  if (result.tensors > 0) text += fmt::format("{} tensors decoded, {} values\n", result.tensors, result.values);
  if (result.compared && !result.distances.empty()) {
    std::vector<TensorDistance> order = result.distances;
    std::ranges::stable_sort(order, std::ranges::greater{}, &TensorDistance::relative_error);
    order.resize(std::min(order.size(), kShown));
    TextTable table({"largest relative errors", "|W - W'| / |W|"});
    for (const TensorDistance& row : order) table.add({printable(row.name), fmt::format("{:.3e}", row.relative_error)});
    text += table.text();
  }
  for (const std::string& problem : result.problems) text += "problem: " + printable(problem) + "\n";
  return text + (result.problems.empty() ? "all is well\n" : "");
}

}  // namespace mpiquant
