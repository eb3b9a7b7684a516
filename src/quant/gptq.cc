#include "src/quant/gptq.h"

#include "src/base/error.h"

namespace mpiquant {

std::vector<EncodedRows> convert_gptq(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                      const CodecSpec& codec) {
  expect(factor != nullptr, "GPTQ without a factor");
  return backend.sweep_group(stream, {parts, factor, codec});
}

}  // namespace mpiquant
