#pragma once

#include <map>
#include <memory>
#include <string>

#include "io/hdf5.h"
#include "kernels/backend.h"
#include "kernels/codec/codec.h"

namespace mpiquant {

// Codes of the linears of a layer as one rank packed them, in HDF5: MODULE/codes u8 [rows, cols], MODULE/params f32 [rows, 2 ×
// groups] (scale and offset of each group), MODULE/g_idx i32 [cols].
void write_codes(Hdf5Writer& file, const std::string& module, const EncodedLinear& linear);

// Reads back rows as the backend decoded them, from the files of one layer. folder: where the files are; files: module → file.
class CodesReader {
 public:
  CodesReader(std::string folder, const std::map<std::string, std::string>& files) : folder_(std::move(folder)), files_(files) {}

  bool has(const std::string& module) const { return files_.contains(module); }
  // Rows [row_begin, row_begin + out.rows) of a linear that was encoded with `codec`, decoded. Input error when the file does not
  // fit the linear.
  void decode_rows(Backend& backend, Stream& stream, const std::string& module, const CodecSpec& codec, std::int64_t row_begin,
                   Matrix out);

 private:
  const Hdf5Reader& open(const std::string& file);

  std::string folder_;
  const std::map<std::string, std::string>& files_;
  std::map<std::string, Hdf5Reader> open_;
};

}  // namespace mpiquant
