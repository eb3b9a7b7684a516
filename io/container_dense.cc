#include "io/container_dense.h"

#include "io/container_common.h"
#include "io/repository.h"
#include "io/shards.h"
#include "kernels/codec/grids.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

class DenseContainer final : public Container {
 public:
  std::string_view name() const override { return "dense"; }

  void check(const OutputSpec& output, const ModelSpec& model) const override {
    mpiquant::check(output.dense_dtype == DType::kF32 || output.dense_dtype == DType::kF16 || output.dense_dtype == DType::kBF16,
                    ExitCode::kUsage, "--dense-dtype {} is not possible; use f32, f16 or bf16",
                    info(output.dense_dtype).torch_name);
    check_tied_head(output, model, name());
  }

  bool takes_ragged_groups() const override { return true; }

  // Nothing is stored, so nothing need be rounded.
  DType scale_dtype(const ModelSpec&) const override { return DType::kF32; }

  std::vector<FilePlan> layout(const OutputSpec& output, const RunFacts& facts) const override {
    std::vector<StoredTensor> tensors = dense_tensors(output);
    for (StoredTensor& tensor : tensors) tensor.dtype = output.dense_dtype;
    for (const LinearChoice& choice : output.linears) {
      const LinearSpec& linear = choice.linear;
      tensors.push_back({linear.weight(), output.dense_dtype, {linear.rows, linear.cols}, linear.module, "weight"});
    }
    return plan_shards(std::move(tensors), *facts.model, output.max_shard_bytes);
  }

  void pack(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan, const EncodedLinear& linear,
            std::span<std::byte> out) const override {
    const std::int64_t groups = linear.codec.groups(linear.cols);
    const std::size_t row_bytes = static_cast<std::size_t>(linear.cols) * size_of(output.dense_dtype);
    expect(out.size() == static_cast<std::size_t>(linear.rows) * row_bytes, "{} bytes for {}", out.size(), plan.name);
    std::vector<float> row(static_cast<std::size_t>(linear.cols));
    codec::with_grid(linear.codec, [&](const auto& grid) {
      for (std::int64_t n = 0; n < linear.rows; ++n) {
        const std::uint8_t* codes = linear.codes.data() + n * linear.cols;
        const GroupParams* params = linear.params.data() + n * groups;
        for (std::size_t k = 0; k < row.size(); ++k) row[k] = grid.value(static_cast<float>(codes[k]), params[linear.g_idx[k]]);
        store_rows(output.dense_dtype, plan.name, n, std::ssize(row), row,
                   out.subspan(static_cast<std::size_t>(n) * row_bytes, row_bytes));
      }
    });
  }

  void write_dense(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan, std::int64_t row_begin,
                   std::int64_t row_end, const RowReader& read, std::span<std::byte> out) const override {
    write_float_rows(output.dense_dtype, plan.name, row_elements(dense_of(output, plan.name)), row_begin, row_end, read, out);
  }

  std::int64_t dense_row_bytes(const OutputSpec& output, const ModelSpec&, const TensorPlan& plan) const override {
    return row_elements(dense_of(output, plan.name)) * static_cast<std::int64_t>(size_of(output.dense_dtype));
  }

  std::vector<TextFile> metadata(const OutputSpec& output, const RunFacts& facts) const override {
    return repository_files(output, facts, layout(output, facts), {.dtype = output.dense_dtype, .quantization = {}, .extra = {}});
  }
};

}  // namespace

const Container& dense_container() {
  static const DenseContainer container;
  return container;
}

}  // namespace mpiquant
