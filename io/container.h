#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/codec/codec.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// How one linear is stored by an output: dense, or with a codec.
struct LinearChoice {
  LinearSpec linear;
  bool dense = false;
  CodecSpec codec;
  bool has_g_idx = false;  // groups follow the dynamic activation order
};

// A tensor of the source model that an output carries as floats: embeddings, norms, biases, dense linears, an untied head.
struct DenseChoice {
  std::string source;  // name in the source repository
  std::string name;    // Hugging Face name in the output (differs only for an untied head)
  std::vector<std::int64_t> shape;
  DType dtype;  // of the source
};

// One requested output, resolved: everything a container needs to know to lay out its files.
struct OutputSpec {
  std::string label;                  // its name, or as on the command line, "gguf:q4_0"
  std::string folder;                 // "gguf-q4_0", where several outputs are published together
  std::string container;              // "gguf"
  std::vector<LinearChoice> linears;  // those with a codec
  std::vector<DenseChoice> dense;
  DType dense_dtype = DType::kBF16;         // of the `dense` container's tensors
  std::string gguf_type;                    // "q4_0"; file type of a GGUF output
  std::string gguf_pre;                     // --gguf-pre, empty: by table
  std::string embedding_type, output_type;  // GGUF types, empty: keep the float type
  std::int64_t max_shard_bytes = 5'000'000'000;
  bool untied = false;                  // the head of a tied model is written as a tensor of its own
  std::vector<std::string> transforms;  // of the model before the method; `source` of its tensors is of the transformed model
};

// Facts about the run that go into configs, cards and metadata. None depends on time, host or ranks.
struct RunFacts {
  const ModelSpec* model = nullptr;
  std::string model_dir;   // source repository
  std::string model_name;  // for the card: id or last path component
  std::string program_version;
  std::string method;  // "gptq"
  int bits = 4;
  std::int64_t group_size = 128;
  bool symmetric = true;
  std::vector<std::string> transforms;  // of the model before the method
  std::string act_order;                // "static", "dynamic", "none"
  double damp_percent = 0.01;
  double gptaq_alpha = 0;
  bool true_sequential = true;
  bool mse = false;
  std::vector<std::string> notes;  // what to know of its readers
  Json recipe;                     // everything, for mpiquant.json
  Json tensors;                    // per-tensor errors and damping, filled when the run is over
};

// A piece of an output file with the way to its bytes.
struct TensorPlan {
  std::string name;     // as stored
  std::string source;   // module of the linear, or name of the dense source tensor
  std::string piece;    // "qweight", "scales", …; "" for a dense tensor
  std::int64_t offset;  // of its first byte in the file
  std::int64_t bytes;
};

struct FilePlan {
  std::string path;                 // relative to the output's directory
  std::vector<std::byte> header;    // at offset 0
  std::int64_t bytes = 0;           // of the whole file
  std::vector<TensorPlan> tensors;  // in file order; gaps between them are zero
};

struct TextFile {
  std::string path;
  std::string content;
};

// Reads rows [begin, end) of a source tensor as fp32 (a 1-D tensor counts as rows of one element).
using RowReader = std::function<void(std::int64_t begin, std::int64_t end, std::span<float> out)>;

// How tensors are named, packed and filed. Pure: sizes and offsets follow from shapes and codecs alone.
class Container {
 public:
  virtual ~Container() = default;
  virtual std::string_view name() const = 0;
  // Throws (usage error) when this container's readers cannot hold the output: bits, group size, activation order, tying.
  virtual void check(const OutputSpec& output, const ModelSpec& model) const = 0;
  // True if the last group of a row may be shorter than group_size.
  virtual bool takes_ragged_groups() const { return false; }
  // True if its readers take groups of so many columns (-1: whole rows).
  virtual bool takes_group_size(std::int64_t) const { return true; }
  // What the user should know of this output's readers, a sentence each; nothing for a plain output.
  virtual std::vector<std::string> notes(const OutputSpec&, const ModelSpec&) const { return {}; }
  // The stored type of scales for a model.
  virtual DType scale_dtype(const ModelSpec& model) const = 0;
  virtual std::vector<FilePlan> layout(const OutputSpec& output, const RunFacts& facts) const = 0;
  // Bytes of one piece of a quantized linear; out.size() == plan.bytes.
  virtual void pack(const OutputSpec& output, const ModelSpec& model, const TensorPlan& plan, const EncodedLinear& linear,
                    std::span<std::byte> out) const = 0;
  // True if rows of a linear are stored one after the other, parts of kPartRows rows each made from the same rows, so that
  // pack_part can be used.
  virtual bool packs_parts(const ModelSpec&, const LinearSpec&) const { return false; }
  // Stored bytes of such a part, or the rest of a linear: codes [rows, cols], params [rows, groups]. Not to be called otherwise.
  virtual void pack_part(const ModelSpec& model, const TensorPlan& plan, const CodecSpec& codec, std::int64_t rows,
                         std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                         std::span<std::byte> out) const;
  // Bytes [begin, end) of a dense tensor's stored form, a multiple of its stored row unless it is 1-D; row order as stored.
  virtual void write_dense(const OutputSpec& output, const ModelSpec& model, const TensorPlan& plan, std::int64_t row_begin,
                           std::int64_t row_end, const RowReader& read, std::span<std::byte> out) const = 0;
  // Stored bytes of one row of a dense tensor.
  virtual std::int64_t dense_row_bytes(const OutputSpec& output, const ModelSpec& model, const TensorPlan& plan) const = 0;
  // config.json, tokenizer files, card and so on; manifest and mpiquant.json are added by the run.
  virtual std::vector<TextFile> metadata(const OutputSpec& output, const RunFacts& facts) const = 0;
};

// All containers, one row each (container.cc): "gptq", "compressed-tensors", "gguf", "dense".
std::span<const Container* const> containers();
// Throws (usage error) with the known names.
const Container& find_container(std::string_view name);

}  // namespace mpiquant
