#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "kernels/cuda/api.h"

namespace mpiquant::cuda {

// c [m, n] = op(a) · op(b) in column-major order, sums in fp32. a and b are both of `type`: bfloat16, half or fp32.
struct ProductTask {
  bool transpose_a;
  bool transpose_b;
  std::int64_t m, n, k;
  const void* a;
  std::int64_t lda;
  const void* b;
  std::int64_t ldb;
  float* c;
  std::int64_t ldc;
  cudaDataType type;
};

// Products by cuBLASLt. The algorithm is a function of shapes and alignments alone, and none that splits the sums over blocks is
// allowed, so that results depend neither on streams nor on what else runs. Safe to use from several threads.
class Products {
 public:
  // Of one stream's workspace, in bytes.
  static constexpr std::size_t kWorkspace = std::size_t{32} << 20;

  void run(cublasLtHandle_t handle, cudaStream_t stream, std::byte* workspace, const ProductTask& task);

 private:
  struct Key {
    bool transpose_a, transpose_b;
    cudaDataType type;
    std::int64_t m, n, k, lda, ldb, ldc;
    std::uint32_t align_a, align_b, align_c;
    auto operator<=>(const Key&) const = default;
  };
  cublasLtMatmulAlgo_t algorithm(cublasLtHandle_t handle, const Key& key, cublasLtMatmulDesc_t operation,
                                 cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c);

  std::mutex mutex_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace mpiquant::cuda
