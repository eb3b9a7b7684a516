#include "src/quant/gptq.h"

#include "src/base/error.h"

namespace mpiquant {

EncodedRows convert_gptq(Backend& backend, Stream& stream, ConstMatrix part, const Factor* factor, const CodecSpec& codec,
                         std::int64_t row_begin) {
  expect(factor != nullptr, "GPTQ without a factor");
  EncodedRows out = backend.sweep(stream, {part, factor, codec});
  out.row_begin = row_begin;
  return out;
}

}  // namespace mpiquant
