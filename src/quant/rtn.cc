#include "src/quant/rtn.h"

namespace mpiquant {

EncodedRows convert_rtn(Backend& backend, Stream& stream, ConstMatrix part, const Factor*, const CodecSpec& codec,
                        std::int64_t row_begin) {
  EncodedRows out = backend.encode(stream, part, codec);
  out.row_begin = row_begin;
  return out;
}

}  // namespace mpiquant
