#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include <nv/target>

#include "kernels/block/block.h"
#include "kernels/cuda/launch.h"

namespace mpiquant::cuda {

// An element of the bodies as CUDA names it.
template <typename Element>
using DeviceElement = std::conditional_t<std::is_same_v<Element, block::Bf16>, __nv_bfloat16, __half>;

// Products of bfloat16 or half tiles in shared memory on tensor cores, sums in fp32: rows, cols and depth are multiples of 16,
// leading dimensions of 8, and tiles begin at multiples of 32 bytes. A warp has sixteen rows.
struct TensorTiles {
  template <int kThreads, typename Element>
  MQ_HD static void multiply_transposed(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc,
                                        int rows, int cols, int depth) {
    NV_IF_TARGET(NV_IS_DEVICE,
                 (multiply<kThreads, nvcuda::wmma::col_major, false>(thread, a, lda, b, ldb, c, ldc, rows, cols, depth);))
  }
  template <int kThreads, typename Element>
  MQ_HD static void multiply_add(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc, int rows,
                                 int cols, int depth) {
    NV_IF_TARGET(NV_IS_DEVICE,
                 (multiply<kThreads, nvcuda::wmma::row_major, true>(thread, a, lda, b, ldb, c, ldc, rows, cols, depth);))
  }

 private:
  // b is [cols, depth] where col_major, [depth, cols] where row_major.
  template <int kThreads, typename Layout, bool kAdd, typename Element>
  __device__ static void multiply(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc, int rows,
                                  int cols, int depth) {
    namespace wmma = nvcuda::wmma;
    constexpr int kSide = 16, kWide = 4;  // tiles of a column range whose sums are in registers
    constexpr bool kTransposed = std::is_same_v<Layout, wmma::col_major>;
    using Value = DeviceElement<Element>;
    const auto* left = reinterpret_cast<const Value*>(a);
    const auto* right = reinterpret_cast<const Value*>(b);
    for (int row = thread / 32 * kSide; row < rows; row += kThreads / 32 * kSide)
      for (int first = 0; first < cols; first += kWide * kSide) {
        wmma::fragment<wmma::accumulator, kSide, kSide, kSide, float> sum[kWide];
        MQ_UNROLL
        for (int i = 0; i < kWide; ++i) {
          const int column = first + i * kSide;
          if (kAdd && column < cols)
            wmma::load_matrix_sync(sum[i], c + row * ldc + column, static_cast<unsigned>(ldc), wmma::mem_row_major);
          else
            wmma::fill_fragment(sum[i], 0.0F);
        }
        for (int d = 0; d < depth; d += kSide) {
          wmma::fragment<wmma::matrix_a, kSide, kSide, kSide, Value, wmma::row_major> from_a;
          wmma::load_matrix_sync(from_a, left + row * lda + d, static_cast<unsigned>(lda));
          MQ_UNROLL
          for (int i = 0; i < kWide; ++i) {
            const int column = first + i * kSide;
            if (column >= cols) continue;
            wmma::fragment<wmma::matrix_b, kSide, kSide, kSide, Value, Layout> from_b;
            wmma::load_matrix_sync(from_b, kTransposed ? right + column * ldb + d : right + d * ldb + column,
                                   static_cast<unsigned>(ldb));
            wmma::mma_sync(sum[i], from_a, from_b, sum[i]);
          }
        }
        MQ_UNROLL
        for (int i = 0; i < kWide; ++i)
          if (const int column = first + i * kSide; column < cols)
            wmma::store_matrix_sync(c + row * ldc + column, sum[i], static_cast<unsigned>(ldc), wmma::mem_row_major);
      }
  }
};

}  // namespace mpiquant::cuda
