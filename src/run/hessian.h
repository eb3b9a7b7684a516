#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "src/quant/hessian.h"
#include "src/run/job.h"
#include "src/run/report.h"

namespace mpiquant {

// A buffer as values of a type, in whatever memory it lies.
template <typename T>
std::span<T> values_of(const BackendBuffer& buffer) {
  return {reinterpret_cast<T*>(buffer.data()), buffer.bytes() / sizeof(T)};
}

// How replicas sum their Hessians. kInt64: exact, so that results do not depend on ranks. kF32: each replica's sum is rounded
// first, which halves what travels; results then depend on the number of replicas.
enum class HessianSums : std::uint8_t { kInt64, kF32 };
std::string_view to_string(HessianSums sums);  // "int64", "f32"

// A block's Hessian while replicas sum it: in the backend's memory, where nothing else may touch it before it has arrived.
struct HessianSum {
  std::int64_t cols = 0;
  int exponent = 0;
  BackendBuffer sum;     // int64
  BackendBuffer packed;  // fp32 in place of it, for HessianSums::kF32
  Pending arrival;
};

// A canonical Hessian at its owner: on the host or, where the backend's memory is a device's, there (packed as on the host).
struct SharedHessian {
  Hessian host;
  BackendBuffer device;
};

// Calls the body with x [tokens, cols] of some of this replica's units, until each has been there.
using InputVisits = std::function<void(const std::function<void(std::span<const ConstMatrix>)>& body)>;

// Begins to sum a block's Hessian at its owner. inputs may go when this returns; total_units: of all replicas. Collective over
// the replicas.
HessianSum begin_hessian(Job& job, const InputVisits& inputs, std::int64_t cols, std::int64_t total_units, int owner,
                         HessianSums sums, RankReport& report);
// Waits for it: the Hessian of total_tokens tokens at its owner; empty elsewhere. Collective over the replicas.
SharedHessian finish_hessian(Job& job, HessianSum sum, std::int64_t total_tokens, int owner, RankReport& report);

// The same on the host, to be kept.
Hessian on_host(Backend& backend, const SharedHessian& hessian, std::int64_t cols, std::int64_t tokens);

// The factor of a Hessian that the owner has, the same on every replica. Collective over the replicas.
Factor shared_factor(Job& job, SharedHessian hessian, std::int64_t cols, int owner, const FactorOptions& options,
                     RankReport& report);

}  // namespace mpiquant
