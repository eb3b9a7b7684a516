#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mpiquant {

// What work consists of. A machine has a rate for each; a row of the table in amount.cc each.
enum class Op : std::uint8_t {
  kLinear,     // flop of the linears' products
  kAttention,  // flop of scores, and of values weighted by them
  kSoftmax,    // scores
  kHessian,    // flop of XᵀX
  kRound,      // values added to an integer sum
  kFactor,     // flop of Cholesky factor and triangular inverse
  kOrder,      // values of a Hessian brought into visiting order
  kSweep,      // flop of column updates
  kCode,       // weights that get a code
  kSearch,     // weights in groups that search their range
  kColumn,     // columns visited one after the other
  kDecode,     // codes turned back into weights
  kMemory,     // bytes read and written by everything else
  kRead,       // bytes of files
  kConvert,    // stored values brought to fp32
  kPack,       // codes packed for a container
  kWrite,      // bytes of files, synced
  kSum,        // bytes summed by SHA-256
};
inline constexpr std::size_t kOps = 18;

// A number for each kind of work: how much of it, or how much of it a worker does in a second.
struct Amount {
  std::array<double, kOps> of{};

  double& operator[](Op op) { return of[static_cast<std::size_t>(op)]; }
  double operator[](Op op) const { return of[static_cast<std::size_t>(op)]; }
  Amount& operator+=(const Amount& other) {
    for (std::size_t i = 0; i < kOps; ++i) of[i] += other.of[i];
    return *this;
  }
  Amount operator*(double factor) const {
    Amount out = *this;
    for (double& value : out.of) value *= factor;
    return out;
  }
};

// Name and unit of a kind's rate in a topology file, where its key is NAME_UNIT: the number there times `unit` is a rate per
// second.
struct OpInfo {
  Op op;
  std::string_view name;
  std::string_view unit_name;
  double unit;
};
std::span<const OpInfo> ops();

// Seconds that a worker with these rates takes. Kinds without a rate (0) take no time.
double seconds(const Amount& amount, const Amount& rates);

}  // namespace mpiquant
