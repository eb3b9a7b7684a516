#include "src/quant/rtn.h"

namespace mpiquant {

std::vector<EncodedRows> convert_rtn(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor*,
                                     const CodecSpec& codec) {
  std::vector<EncodedRows> out;
  for (const ConstMatrix& part : parts) out.push_back(backend.encode(stream, part, codec));
  return out;
}

}  // namespace mpiquant
