#include "io/container_compressed_tensors.h"

#include <array>
#include <cstring>

#include "io/compressed_tensors_config.h"
#include "io/container_common.h"
#include "io/packing.h"
#include "io/repository.h"
#include "io/shards.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

class CompressedTensorsContainer final : public Container {
 public:
  std::string_view name() const override { return "compressed-tensors"; }

  void check(const OutputSpec& output, const ModelSpec& model) const override {
    check_int_groups(output, name());
    for (const LinearChoice& choice : output.linears) {
      const int bits = choice.codec.bits;
      mpiquant::check(
          bits == 2 || bits == 4 || bits == 8, ExitCode::kUsage,
          "{} is to have {} bits (readers of compressed-tensors agree on 2, 4 and 8 only: releases before 0.18 pack other "
          "widths differently); use --bits 4, or the gptq format",
          choice.linear.module, bits);
      mpiquant::check(
          !choice.has_g_idx, ExitCode::kUsage,
          "{} is to have groups in activation order (compressed-tensors no longer reads them); use --act-order static, or "
          "the gptq format",
          choice.linear.module);
    }
    check_tied_head(output, model, name());
  }

  std::vector<std::string> notes(const OutputSpec& output, const ModelSpec& model) const override {
    return compressed_tensors_notes(output, model);
  }

  DType scale_dtype(const ModelSpec& model) const override { return model.dtype == DType::kBF16 ? DType::kBF16 : DType::kF16; }

  std::vector<FilePlan> layout(const OutputSpec& output, const RunFacts& facts) const override {
    std::vector<StoredTensor> tensors = dense_tensors(output);
    for (const LinearChoice& choice : output.linears) {
      const std::string& name = choice.linear.module;
      const std::int64_t rows = choice.linear.rows, cols = choice.linear.cols;
      const CodecSpec& codec = choice.codec;
      const std::int64_t groups = codec.groups(cols);
      const auto add = [&](const char* piece, DType dtype, Shape shape) {
        tensors.push_back({name + "." + piece, dtype, std::move(shape), name, piece});
      };
      add("weight_packed", DType::kI32, {rows, packed_words(cols, codec.bits)});
      add("weight_scale", codec.scale_dtype, {rows, groups});
      add("weight_shape", DType::kI64, {2});
      if (!codec.symmetric) add("weight_zero_point", DType::kI32, {packed_words(rows, codec.bits), groups});
    }
    return plan_shards(std::move(tensors), *facts.model, output.max_shard_bytes);
  }

  void pack(const OutputSpec&, const ModelSpec&, const TensorPlan& plan, const EncodedLinear& linear,
            std::span<std::byte> out) const override {
    if (plan.piece == "weight_packed") return pack_rows(linear.codes, linear.rows, linear.cols, linear.codec.bits, out);
    if (plan.piece == "weight_zero_point") return pack_zeros(linear, out);
    if (plan.piece == "weight_scale") {
      std::vector<float> scales;
      for (const GroupParams& params : linear.params) scales.push_back(params.scale);
      return from_f32(linear.codec.scale_dtype, scales, out);
    }
    const std::array<std::int64_t, 2> shape = {linear.rows, linear.cols};
    expect(plan.piece == "weight_shape" && out.size() == sizeof shape, "{} cannot be packed", plan.name);
    std::memcpy(out.data(), shape.data(), out.size());
  }

  void write_dense(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan, std::int64_t row_begin,
                   std::int64_t row_end, const RowReader& read, std::span<std::byte> out) const override {
    const DenseChoice& tensor = dense_of(output, plan.name);
    write_float_rows(tensor.dtype, plan.name, row_elements(tensor), row_begin, row_end, read, out);
  }

  std::int64_t dense_row_bytes(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan) const override {
    const DenseChoice& tensor = dense_of(output, plan.name);
    return row_elements(tensor) * static_cast<std::int64_t>(size_of(tensor.dtype));
  }

  std::vector<TextFile> metadata(const OutputSpec& output, const RunFacts& facts) const override {
    return repository_files(output, facts, layout(output, facts),
                            {.dtype = std::nullopt, .quantization = compressed_tensors_config(output, facts), .extra = {}});
  }

 private:
  // [words of rows, groups]. Readers see signed values; stored with 2^(bits-1) added they are the unsigned ones.
  static void pack_zeros(const EncodedLinear& linear, std::span<std::byte> out) {
    const std::int64_t groups = linear.codec.groups(linear.cols);
    std::vector<std::uint8_t> zeros(linear.params.size());  // [groups, rows]
    for (std::int64_t n = 0; n < linear.rows; ++n)
      for (std::int64_t g = 0; g < groups; ++g)
        zeros[static_cast<std::size_t>(g * linear.rows + n)] =
            static_cast<std::uint8_t>(linear.params[static_cast<std::size_t>(n * groups + g)].offset);
    pack_columns(zeros, groups, linear.rows, linear.codec.bits, out);
  }
};

}  // namespace

const Container& compressed_tensors_container() {
  static const CompressedTensorsContainer container;
  return container;
}

}  // namespace mpiquant
