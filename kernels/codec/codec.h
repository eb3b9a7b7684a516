#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/dtype.h"

namespace mpiquant {

// Rows of a linear that are quantized together; the smallest piece of quantization work. Fixed, so that every run makes the
// same calls whatever its ranks and threads.
inline constexpr std::int64_t kPartRows = 128;

// In which order GPTQ visits columns: as they are; by falling Hessian diagonal, groups in place; the same, groups of consecutive
// visits.
enum class ActOrder : std::uint8_t { kNone, kStatic, kDynamic };

// The grids that codes live on. A row of the table in codec.cc each.
enum class CodecKind : std::uint8_t {
  kInt,   // group-wise integers, W = scale * (q - zero); ALGORITHMS: GPTQ grid, bits 2, 3, 4, 8
  kQ8_0,  // ggml: W = d * (q - 128), blocks of 32
  kQ4_0,  // ggml: W = d * (q - 8), blocks of 32, d may be negative
  kQ4_1,  // ggml: W = d * q + m, blocks of 32
};

// A codec with all its parameters. Outputs with equal CodecSpec share codes.
struct CodecSpec {
  CodecKind kind = CodecKind::kInt;
  int bits = 4;
  std::int64_t group_size = 128;    // columns that share parameters; -1: the whole row
  bool symmetric = true;            // kInt only
  DType scale_dtype = DType::kF16;  // stored type of scales (kInt: F16, BF16 or F32); ggml codecs: F16
  bool mse = false;                 // search the range of each group for the least sum of |error|^2.4 (kInt only)

  bool operator==(const CodecSpec&) const = default;
  std::int64_t group_of(std::int64_t cols) const { return group_size < 0 ? cols : group_size; }
  std::int64_t groups(std::int64_t cols) const { return (cols + group_of(cols) - 1) / group_of(cols); }
};

// "int4 g128 sym", "q4_0", for logs and reports.
std::string to_string(const CodecSpec& codec);

// Throws (internal error) unless the parameters are ones that the kernels know; recipes are checked long before.
void expect_valid(const CodecSpec& codec);

// Parameters of one group, already rounded to their stored type.
struct GroupParams {
  float scale = 0;   // s or d
  float offset = 0;  // kInt: zero point z, an integer in [0, 2^bits - 1]; kQ4_1: minimum m; else 0
};

// Rows [row_begin, row_begin + rows) of a quantized linear. Codes are unsigned, one byte each, in the original column order.
struct EncodedRows {
  std::int64_t row_begin = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;    // [rows, cols]
  std::vector<GroupParams> params;    // [rows, groups]
  std::vector<double> loss;           // [rows] Hessian-weighted (gptq) or plain squared (rtn) error
  std::int64_t scale_underflows = 0;  // groups whose scale left the range of its stored type and was clamped
  std::int64_t scale_overflows = 0;
  std::shared_ptr<const void> resident;  // codes and parameters where the backend computes, if it keeps them for Backend::decode
};

// A whole quantized linear as containers see it.
struct EncodedLinear {
  CodecSpec codec;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;  // [rows, cols]
  std::vector<GroupParams> params;  // [rows, groups]
  std::vector<std::int32_t> g_idx;  // [cols] group of each column; always filled
};

}  // namespace mpiquant
