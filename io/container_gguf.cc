#include "io/container_gguf.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "io/container_common.h"
#include "io/ggml_blocks.h"
#include "io/gguf.h"
#include "io/gguf_llama.h"
#include "io/gguf_metadata.h"
#include "io/repository.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

GgmlType float_type(DType dtype) {
  if (dtype == DType::kF16) return GgmlType::kF16;
  return dtype == DType::kBF16 ? GgmlType::kBF16 : GgmlType::kF32;
}

bool is_float_type(GgmlType type) { return type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16; }

GgmlType named_type(const std::string& name, const char* option) {
  const GgmlTypeInfo* found = find_ggml_type(name);
  check(found != nullptr && (is_float_type(found->type) || ggml_codec(found->type)), ExitCode::kUsage,
        "{} {} is not written here; use one of F32, F16, BF16, Q8_0, Q4_0, Q4_1", option, name);
  return found->type;
}

std::string stored_name(std::string_view hf) {
  const auto name = gguf_name(hf);
  expect(name.has_value(), "{} has no place in a GGUF file", hf);
  return *name;
}

std::int64_t role_rank(std::string_view gguf) {
  if (gguf.starts_with("token_embd")) return 0;
  if (gguf == kRopeFreqs) return 1;
  if (gguf.starts_with("blk.")) return 2;
  return gguf.starts_with("output_norm") ? 3 : 4;
}

// "blk.3.ffn_up.weight" → 3
std::int64_t layer_of(std::string_view gguf) {
  std::int64_t layer = 0;
  if (gguf.starts_with("blk."))
    for (std::size_t i = 4; i < gguf.size() && gguf[i] != '.'; ++i) layer = layer * 10 + (gguf[i] - '0');
  return layer;
}

// A tensor of the file; source and piece as in TensorPlan.
struct Placed {
  GgufTensor tensor;
  std::string source;
  std::string piece;
};

class GgufContainer final : public Container {
 public:
  std::string_view name() const override { return "gguf"; }

  void check(const OutputSpec& output, const ModelSpec& model) const override {
    mpiquant::check(model.architecture == "LlamaForCausalLM" || model.architecture == "MistralForCausalLM", ExitCode::kUsage,
                    "GGUF files of {} are not written here (known: LlamaForCausalLM, MistralForCausalLM); use another format",
                    model.architecture);
    named_type(output.gguf_type, "GGUF type");
    for (const LinearChoice& choice : output.linears) {
      mpiquant::check(ggml_type_of(choice.codec.kind).has_value(), ExitCode::kUsage,
                      "{} is to have the codec {}, which is no GGUF type; use gguf:q8_0, gguf:q4_0 or gguf:q4_1",
                      choice.linear.module, to_string(choice.codec));
      mpiquant::check(choice.linear.cols % choice.codec.group_size == 0, ExitCode::kUsage,
                      "the {} columns of {} are not whole blocks of {} (GGUF has no ragged blocks); use --ragged dense",
                      choice.linear.cols, choice.linear.module, choice.codec.group_size);
      mpiquant::check(!choice.has_g_idx, ExitCode::kUsage,
                      "{} is to have groups in activation order (GGUF has no place for them); use --act-order static",
                      choice.linear.module);
    }
    for (const DenseChoice& choice : output.dense) {
      const GgmlTypeInfo& type = info(type_of(output, choice));
      mpiquant::check(choice.shape.back() % type.block == 0, ExitCode::kUsage,
                      "the {} columns of {} are not whole blocks of {}; use a float type for it", choice.shape.back(),
                      choice.name, type.name);
    }
    const bool head_tensor = std::ranges::any_of(output.dense, [&](const auto& c) { return c.name == model.head.weight(); });
    mpiquant::check(
        output.output_type.empty() || head_tensor, ExitCode::kUsage,
        "--output-type {} has no tensor to apply to (the head is tied to the embeddings, or --lm-head quantizes it); use "
        "--embedding-type or --untie",
        output.output_type);
  }

  std::vector<std::string> notes(const OutputSpec&, const ModelSpec& model) const override { return gguf_notes(model); }

  DType scale_dtype(const ModelSpec&) const override { return DType::kF16; }

  std::vector<FilePlan> layout(const OutputSpec& output, const RunFacts& facts) const override {
    const ModelSpec& model = *facts.model;
    const std::vector<Placed> placed = tensors_of(output, model);
    std::vector<GgufTensor> tensors;
    for (const Placed& entry : placed) tensors.push_back(entry.tensor);
    const GgmlType type = named_type(output.gguf_type, "GGUF type");
    GgufLayout layout = build_gguf_header(gguf_metadata(output, facts, type), tensors);
    FilePlan file{.path = file_name(facts, type), .header = std::move(layout.header), .bytes = layout.file_bytes, .tensors = {}};
    for (std::size_t i = 0; i < placed.size(); ++i) {
      const GgufTensor& tensor = layout.tensors[i];
      file.tensors.push_back({tensor.name, placed[i].source, placed[i].piece, tensor.offset, tensor.bytes});
    }
    return {std::move(file)};
  }

  void pack(const OutputSpec&, const ModelSpec& model, const TensorPlan& plan, const EncodedLinear& linear,
            std::span<std::byte> out) const override {
    pack_part(model, plan, linear.codec, linear.rows, linear.codes, linear.params, out);
  }

  // Heads that are permuted must be whole.
  bool packs_parts(const ModelSpec& model, const LinearSpec& linear) const override {
    return permuted_heads(model, stored_name(linear.weight())) == 0 || kPartRows % model.head_dim == 0;
  }

  void pack_part(const ModelSpec& model, const TensorPlan& plan, const CodecSpec& codec, std::int64_t rows,
                 std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                 std::span<std::byte> out) const override {
    if (rows == 0) return;
    const auto count = static_cast<std::size_t>(rows);
    const std::size_t cols = codes.size() / count, groups = params.size() / count, row_bytes = out.size() / count;
    const bool permuted = permuted_heads(model, plan.name) > 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto source = static_cast<std::size_t>(permuted ? unpermuted_row(row, model.head_dim) : row);
      pack_ggml_row(codec.kind, codes.subspan(source * cols, cols), params.subspan(source * groups, groups),
                    out.subspan(static_cast<std::size_t>(row) * row_bytes, row_bytes));
    }
  }

  void write_dense(const OutputSpec& output, const ModelSpec& model, const TensorPlan& plan, std::int64_t row_begin,
                   std::int64_t row_end, const RowReader& read, std::span<std::byte> out) const override {
    if (plan.name == kRopeFreqs) {  // has no source: follows from the config
      const std::vector<float> factors = rope_freqs(model);
      std::memcpy(out.data(), factors.data() + row_begin, out.size());
      return;
    }
    const DenseChoice& choice = dense_of(output, plan);
    const std::int64_t elements = row_elements(choice);
    const GgmlType type = type_of(output, choice);
    const RowReader source = permuted_heads(model, plan.name) > 0 ? permuted_reader(read, model.head_dim, elements) : read;
    if (is_float_type(type)) {
      const DType dtype = type == GgmlType::kF32 ? DType::kF32 : type == GgmlType::kF16 ? DType::kF16 : DType::kBF16;
      return write_float_rows(dtype, plan.name, elements, row_begin, row_end, source, out);
    }
    const auto row_bytes = static_cast<std::size_t>(dense_row_bytes(output, model, plan));
    constexpr std::int64_t kValues = 1 << 16;  // at a time
    const std::int64_t step = std::max<std::int64_t>(1, kValues / elements);
    const auto width = static_cast<std::size_t>(elements);
    std::vector<float> values;
    for (std::int64_t first = row_begin; first < row_end; first += step) {
      const std::int64_t last = std::min(row_end, first + step);
      values.resize(static_cast<std::size_t>(last - first) * width);
      source(first, last, values);
      for (std::int64_t row = first; row < last; ++row)
        encode_ggml_row(ggml_codec(type)->kind, std::span(values).subspan(static_cast<std::size_t>(row - first) * width, width),
                        out.subspan(static_cast<std::size_t>(row - row_begin) * row_bytes, row_bytes));
    }
  }

  std::int64_t dense_row_bytes(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan) const override {
    if (plan.name == kRopeFreqs) return sizeof(float);
    const DenseChoice& choice = dense_of(output, plan);
    const GgmlTypeInfo& type = info(type_of(output, choice));
    return row_elements(choice) / type.block * type.block_bytes;
  }

  std::vector<TextFile> metadata(const OutputSpec& output, const RunFacts& facts) const override {
    return repository_files(output, facts, {}, {.dtype = std::nullopt, .quantization = {}, .extra = {}});
  }

 private:
  static const DenseChoice& dense_of(const OutputSpec& output, const TensorPlan& plan) {
    const auto hf = hf_name(plan.name);
    expect(hf.has_value(), "{} is no tensor of a GGUF file", plan.name);
    return mpiquant::dense_of(output, *hf);
  }

  // Vectors are F32. In a float file every matrix has its type; else a matrix keeps its float type.
  static GgmlType type_of(const OutputSpec& output, const DenseChoice& choice) {
    if (choice.shape.size() < 2) return GgmlType::kF32;
    const std::string name = stored_name(choice.name);
    if (name == "token_embd.weight" && !output.embedding_type.empty())
      return named_type(output.embedding_type, "--embedding-type");
    if (name == "output.weight" && !output.output_type.empty()) return named_type(output.output_type, "--output-type");
    const GgmlType type = named_type(output.gguf_type, "GGUF type");
    return is_float_type(type) ? type : float_type(choice.dtype);
  }

  static std::vector<Placed> tensors_of(const OutputSpec& output, const ModelSpec& model) {
    std::vector<Placed> placed;
    for (const LinearChoice& choice : output.linears)
      placed.push_back({{.name = stored_name(choice.linear.weight()),
                         .type = *ggml_type_of(choice.codec.kind),
                         .dims = {choice.linear.cols, choice.linear.rows}},
                        choice.linear.module,
                        "weight"});
    for (const DenseChoice& choice : output.dense)
      placed.push_back({{.name = stored_name(choice.name),
                         .type = type_of(output, choice),
                         .dims = {choice.shape.rbegin(), choice.shape.rend()}},
                        choice.source,
                        ""});
    if (model.rope.type == RopeType::kLlama3)
      placed.push_back({{.name = std::string(kRopeFreqs), .type = GgmlType::kF32, .dims = {model.head_dim / 2}}, "", ""});
    std::ranges::sort(placed, {}, [](const Placed& entry) {
      const std::string& name = entry.tensor.name;
      return std::tuple(role_rank(name), layer_of(name), name);
    });
    return placed;
  }

  static std::string file_name(const RunFacts& facts, GgmlType type) {
    std::string name = std::filesystem::path(facts.model_name).filename().string();
    std::ranges::replace(name, ' ', '-');
    return fmt::format("{}-{}.gguf", name.empty() ? "model" : name, info(type).name);
  }

  // Rows in stored order, read a head at a time, which is kept for the next call.
  static RowReader permuted_reader(const RowReader& read, std::int64_t head_dim, std::int64_t elements) {
    return [&read, head_dim, elements, held = std::int64_t{-1}, head = std::vector<float>()](std::int64_t begin, std::int64_t end,
                                                                                             std::span<float> out) mutable {
      head.resize(static_cast<std::size_t>(head_dim * elements));
      for (std::int64_t first = begin - begin % head_dim; first < end; first += head_dim) {
        if (first != held) read(first, first + head_dim, head);
        held = first;
        for (std::int64_t row = std::max(begin, first); row < std::min(end, first + head_dim); ++row)
          std::copy_n(head.begin() + (unpermuted_row(row, head_dim) - first) * elements, elements,
                      out.begin() + (row - begin) * elements);
      }
    };
  }
};

}  // namespace

const Container& gguf_container() {
  static const GgufContainer container;
  return container;
}

}  // namespace mpiquant
