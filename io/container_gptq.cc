#include "io/container_gptq.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "io/container_common.h"
#include "io/gptq_config.h"
#include "io/packing.h"
#include "io/repository.h"
#include "io/shards.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

// What GPTQModel's kernels take.
constexpr std::array<std::int64_t, 7> kGroupSizes = {16, 32, 64, 128, 256, 512, 1024};

class GptqContainer final : public Container {
 public:
  std::string_view name() const override { return "gptq"; }

  void check(const OutputSpec& output, const ModelSpec& model) const override {
    for (const LinearChoice& choice : output.linears) {
      const LinearSpec& linear = choice.linear;
      mpiquant::check(linear.cols % 32 == 0 && linear.rows % 32 == 0, ExitCode::kUsage,
                      "{} is {} x {} (GPTQ packs 32 rows and 32 columns at a time) leave it dense with --rule \"{}:dense\", "
                      "or use the dense container",
                      linear.module, linear.rows, linear.cols, linear.module);
      const int bits = choice.codec.bits;
      mpiquant::check(bits == 2 || bits == 3 || bits == 4 || bits == 8, ExitCode::kUsage,
                      "{} is to have {} bits (GPTQ holds 2, 3, 4 or 8)", linear.module, bits);
    }
    check_int_groups(output, name());
    for (const LinearChoice& choice : output.linears) {
      const std::int64_t group = choice.codec.group_size;
      mpiquant::check(takes_group_size(group), ExitCode::kUsage,
                      "{} has group size {}, which GPTQ kernels do not take; use -1 or one of {}", choice.linear.module, group,
                      fmt::join(kGroupSizes, ", "));
    }
    check_tied_head(output, model, name());
  }

  std::vector<std::string> notes(const OutputSpec& output, const ModelSpec& model) const override {
    return gptq_notes(output, model);
  }

  bool takes_group_size(std::int64_t group) const override {
    return group == -1 || std::ranges::find(kGroupSizes, group) != kGroupSizes.end();
  }

  DType scale_dtype(const ModelSpec&) const override { return DType::kF16; }

  std::vector<FilePlan> layout(const OutputSpec& output, const RunFacts& facts) const override {
    std::vector<StoredTensor> tensors = dense_tensors(output);
    for (StoredTensor& tensor : tensors)
      if (is_bias(output, tensor.name)) tensor.dtype = DType::kF16;
    for (const LinearChoice& choice : output.linears) {
      const std::string& module = choice.linear.module;
      const std::int64_t rows = choice.linear.rows, cols = choice.linear.cols;
      const std::int64_t groups = choice.codec.groups(cols);
      const int bits = choice.codec.bits;
      tensors.push_back({module + ".qweight", DType::kI32, {packed_words(cols, bits), rows}, module, "qweight"});
      tensors.push_back({module + ".qzeros", DType::kI32, {groups, packed_words(rows, bits)}, module, "qzeros"});
      tensors.push_back({module + ".scales", DType::kF16, {groups, rows}, module, "scales"});
      tensors.push_back({module + ".g_idx", DType::kI32, {cols}, module, "g_idx"});
    }
    return plan_shards(std::move(tensors), *facts.model, output.max_shard_bytes);
  }

  void pack(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan, const EncodedLinear& linear,
            std::span<std::byte> out) const override {
    if (plan.piece == "qweight") return pack_columns(linear.codes, linear.rows, linear.cols, linear.codec.bits, out);
    if (plan.piece == "qzeros") return pack_zeros(linear, gptq_is_v1(output), out);
    if (plan.piece == "scales") return pack_scales(linear, out);
    expect(plan.piece == "g_idx" && out.size() == linear.g_idx.size() * sizeof(std::int32_t), "{} cannot be packed", plan.name);
    std::memcpy(out.data(), linear.g_idx.data(), out.size());
  }

  void write_dense(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan, std::int64_t row_begin,
                   std::int64_t row_end, const RowReader& read, std::span<std::byte> out) const override {
    const DenseChoice& tensor = dense_of(output, plan.name);
    write_float_rows(stored_dtype(output, tensor), plan.name, row_elements(tensor), row_begin, row_end, read, out);
  }

  std::int64_t dense_row_bytes(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan) const override {
    const DenseChoice& tensor = dense_of(output, plan.name);
    return row_elements(tensor) * static_cast<std::int64_t>(size_of(stored_dtype(output, tensor)));
  }

  std::vector<TextFile> metadata(const OutputSpec& output, const RunFacts& facts) const override {
    const Json config = gptq_config(output, facts);
    return repository_files(
        output, facts, layout(output, facts),
        {.dtype = std::nullopt, .quantization = config, .extra = {{"quantize_config.json", config.dump(2) + "\n"}}});
  }

 private:
  // The bias of a quantized linear is F16 like its scales; other float tensors keep their dtype.
  static bool is_bias(const OutputSpec& output, std::string_view tensor) {
    return std::ranges::any_of(output.linears, [&](const LinearChoice& c) { return c.linear.bias() == tensor; });
  }
  static DType stored_dtype(const OutputSpec& output, const DenseChoice& tensor) {
    return is_bias(output, tensor.name) ? DType::kF16 : tensor.dtype;
  }

  // [groups, rows], packed along the rows of the linear; v1 stores one less, which v1's symmetric zero points allow.
  static void pack_zeros(const EncodedLinear& linear, bool v1, std::span<std::byte> out) {
    const std::int64_t groups = linear.codec.groups(linear.cols);
    std::vector<std::uint8_t> zeros(linear.params.size());
    for (std::int64_t n = 0; n < linear.rows; ++n)
      for (std::int64_t g = 0; g < groups; ++g) {
        const int zero = static_cast<int>(linear.params[static_cast<std::size_t>(n * groups + g)].offset) - (v1 ? 1 : 0);
        expect(zero >= 0, "zero point {} cannot be stored", zero);
        zeros[static_cast<std::size_t>(g * linear.rows + n)] = static_cast<std::uint8_t>(zero);
      }
    pack_rows(zeros, groups, linear.rows, linear.codec.bits, out);
  }

  static void pack_scales(const EncodedLinear& linear, std::span<std::byte> out) {
    const std::int64_t groups = linear.codec.groups(linear.cols);
    std::vector<float> scales(linear.params.size());
    for (std::int64_t n = 0; n < linear.rows; ++n)
      for (std::int64_t g = 0; g < groups; ++g)
        scales[static_cast<std::size_t>(g * linear.rows + n)] = linear.params[static_cast<std::size_t>(n * groups + g)].scale;
    from_f32(DType::kF16, scales, out);
  }
};

}  // namespace

const Container& gptq_container() {
  static const GptqContainer container;
  return container;
}

}  // namespace mpiquant
