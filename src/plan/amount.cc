#include "src/plan/amount.h"

namespace mpiquant {
namespace {

constexpr std::array<OpInfo, kOps> kTable = {{
    {Op::kLinear, "linear", "gflops", 1e9},
    {Op::kAttention, "attention", "gflops", 1e9},
    {Op::kSoftmax, "softmax", "mvalues_s", 1e6},
    {Op::kHessian, "hessian", "gflops", 1e9},
    {Op::kRound, "round", "mvalues_s", 1e6},
    {Op::kFactor, "factor", "gflops", 1e9},
    {Op::kOrder, "order", "mvalues_s", 1e6},
    {Op::kSweep, "sweep", "gflops", 1e9},
    {Op::kCode, "code", "mvalues_s", 1e6},
    {Op::kSearch, "search", "mvalues_s", 1e6},
    {Op::kColumn, "column", "mvalues_s", 1e6},
    {Op::kDecode, "decode", "mvalues_s", 1e6},
    {Op::kMemory, "memory", "gb_s", 1e9},
    {Op::kRead, "read", "gb_s", 1e9},
    {Op::kConvert, "convert", "mvalues_s", 1e6},
    {Op::kPack, "pack", "mvalues_s", 1e6},
    {Op::kWrite, "write", "gb_s", 1e9},
    {Op::kSum, "sum", "gb_s", 1e9},
}};

}  // namespace

std::span<const OpInfo> ops() { return kTable; }

double seconds(const Amount& amount, const Amount& rates) {
  double sum = 0;
  for (std::size_t i = 0; i < kOps; ++i)
    if (rates.of[i] > 0) sum += amount.of[i] / rates.of[i];
  return sum;
}

}  // namespace mpiquant
