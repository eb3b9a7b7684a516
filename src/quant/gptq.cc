#include "src/quant/gptq.h"

#include "src/base/error.h"

namespace mpiquant {
namespace {

// The same parts as the block's other inputs want them; `held` owns them.
std::vector<ConstMatrix> corrected(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor& factor,
                                   std::vector<BackendBuffer>& held) {
  const Matrix correction = factor.correction->matrix(factor.cols, factor.cols);
  std::vector<ConstMatrix> out;
  for (const ConstMatrix& part : parts) {
    held.push_back(backend.allocate(static_cast<std::size_t>(part.rows * part.cols) * sizeof(float)));
    const Matrix weights = held.back().matrix(part.rows, part.cols);
    backend.linear(stream, part, correction, nullptr, weights);
    backend.add(stream, part, weights);
    out.push_back(weights);
  }
  return out;
}

}  // namespace

std::vector<EncodedRows> convert_gptq(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                      const CodecSpec& codec) {
  expect(factor != nullptr, "GPTQ without a factor");
  if (!factor->correction) return backend.sweep_group(stream, {parts, factor, codec});
  std::vector<BackendBuffer> held;
  return backend.sweep_group(stream, {corrected(backend, stream, parts, *factor, held), factor, codec});
}

}  // namespace mpiquant
