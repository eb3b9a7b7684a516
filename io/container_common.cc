#include "io/container_common.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {

const DenseChoice& dense_of(const OutputSpec& output, std::string_view name) {
  for (const DenseChoice& choice : output.dense)
    if (choice.name == name) return choice;
  fail(ExitCode::kInternal, "internal error: output {} has no float tensor {}", output.label, name);
}

std::int64_t row_elements(const DenseChoice& tensor) {
  std::int64_t elements = 1;
  for (std::size_t i = 1; i < tensor.shape.size(); ++i) elements *= tensor.shape[i];
  return elements;
}

void store_rows(DType stored, const std::string& tensor, std::int64_t first_row, std::int64_t elements,
                std::span<const float> values, std::span<std::byte> out) {
  from_f32(stored, values, out);
  // What lies halfway to the next power of two, or beyond, is stored as infinity.
  const float limit = stored == DType::kF16 ? 65520.0F : stored == DType::kBF16 ? 0x1.ffp127F : INFINITY;
  const auto beyond = std::ranges::find_if(values, [limit](float value) { return std::abs(value) >= limit; });
  if (beyond == values.end()) return;
  const std::int64_t at = beyond - values.begin();
  fail(ExitCode::kInput,
       "{} holds {} at row {}, column {}, which is infinity in {} (the output would be of no use) choose another type", tensor,
       *beyond, first_row + at / elements, at % elements, info(stored).torch_name);
}

void write_float_rows(DType stored, const std::string& tensor, std::int64_t elements, std::int64_t row_begin,
                      std::int64_t row_end, const RowReader& read, std::span<std::byte> out) {
  constexpr std::int64_t kChunk = std::int64_t{1} << 18;  // floats held at a time
  const std::int64_t step = std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(1, elements));
  const std::size_t row_bytes = static_cast<std::size_t>(elements) * size_of(stored);
  expect(out.size() == static_cast<std::size_t>(row_end - row_begin) * row_bytes, "{} bytes for {} rows of {} bytes", out.size(),
         row_end - row_begin, row_bytes);
  std::vector<float> values;
  for (std::int64_t row = row_begin; row < row_end; row += step) {
    const std::int64_t end = std::min(row_end, row + step);
    values.resize(static_cast<std::size_t>((end - row) * elements));
    read(row, end, values);
    store_rows(stored, tensor, row, elements, values,
               out.subspan(static_cast<std::size_t>(row - row_begin) * row_bytes, values.size() * size_of(stored)));
  }
}

void check_int_groups(const OutputSpec& output, std::string_view container) {
  check(!output.linears.empty(), ExitCode::kUsage,
        "{} would hold no quantized linear (its readers expect some); use the dense container", output.label);
  for (const LinearChoice& choice : output.linears) {
    const std::string& module = choice.linear.module;
    const std::int64_t group = choice.codec.group_size;
    check(choice.codec.kind == CodecKind::kInt, ExitCode::kUsage, "{} is to have the codec {}, which {} does not hold; use gguf",
          module, to_string(choice.codec), container);
    check(group == -1 || group > 0, ExitCode::kUsage, "{} has group size {}; use -1 or a positive number", module, group);
    check(group == -1 || choice.linear.cols % group == 0, ExitCode::kUsage,
          "group size {} does not divide the {} columns of {} (readers of {} take whole groups only); use a divisor or --ragged "
          "dense",
          group, choice.linear.cols, module, container);
  }
}

void check_tied_head(const OutputSpec& output, const ModelSpec& model, std::string_view container) {
  const bool head = std::ranges::any_of(output.linears, [](const LinearChoice& c) { return c.linear.role == Role::kHead; });
  check(!head || !model.tied || output.untied, ExitCode::kUsage,
        "the head shares its matrix with the embeddings, so {} cannot hold a quantized head; add --untie to write the head as a "
        "tensor of its own, or leave out --lm-head",
        container);
}

}  // namespace mpiquant
