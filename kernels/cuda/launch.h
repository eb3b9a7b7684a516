#pragma once

#include <cuda_runtime.h>

#include "kernels/block/attention.h"
#include "kernels/block/block.h"
#include "kernels/cuda/api.h"

namespace mpiquant::cuda {

// Queues the blocks of a body on a stream. Defined, for the bodies that the backend uses, in forward.cu and codec.cu.
template <typename Body>
cudaError_t launch(const Body& body, cudaStream_t stream);

template <typename Body>
void run(const Body& body, cudaStream_t stream, const char* what) {
  check_cuda(launch(body, stream), what);
}
// op(row, column) for every element of [rows, cols].
template <typename Op>
void run_elements(const Op& op, std::int64_t rows, std::int64_t cols, cudaStream_t stream, const char* what) {
  run(block::ForEachElement<Op>{op, rows, cols}, stream, what);
}

// As block::PlainTiles, on tensor cores.
struct TensorTiles;

}  // namespace mpiquant::cuda
