// Kernels on the host: blocks one after the other, threads of a phase in turn.
#include "kernels/cuda/launch.h"

#include <cstdlib>

#include "kernels/block/host_executor.h"
#include "tests/cuda_host/streams.h"

namespace mpiquant::cuda {

// With what tensor cores ask of tiles.
struct TensorTiles {
  template <int kThreads, typename Element>
  static void multiply_transposed(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc, int rows,
                                  int cols, int depth) {
    expect_tiles(a, lda, b, ldb, c, ldc, rows, cols, depth);
    block::PlainTiles::multiply_transposed<kThreads>(thread, a, lda, b, ldb, c, ldc, rows, cols, depth);
  }
  template <int kThreads, typename Element>
  static void multiply_add(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc, int rows,
                           int cols, int depth) {
    expect_tiles(a, lda, b, ldb, c, ldc, rows, cols, depth);
    block::PlainTiles::multiply_add<kThreads>(thread, a, lda, b, ldb, c, ldc, rows, cols, depth);
  }

 private:
  static void expect_tiles(const void* a, int lda, const void* b, int ldb, const void* c, int ldc, int rows, int cols,
                           int depth) {
    const auto begins = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 32 == 0; };
    if (rows % 16 != 0 || cols % 16 != 0 || depth % 16 != 0 || lda % 8 != 0 || ldb % 8 != 0 || ldc % 4 != 0 || !begins(a) ||
        !begins(b) || !begins(c))
      std::abort();
  }
};

template <typename Body>
cudaError_t launch(const Body& body, cudaStream_t stream) {
  const block::BlockGrid grid = body.grid();
  if (grid.x <= 0 || grid.y <= 0) return cudaSuccess;
  int most = 0;
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
  if (grid.x > 0x7fffffff || grid.y > 0xffff || body.shared_bytes() > static_cast<std::size_t>(most))
    return cudaErrorInvalidConfiguration;
  const bool early = cuda_host::order() == cuda_host::Order::kEarly;
  cuda_host::Streams::all().enqueue(stream, [body, early] {
    block::run_on_host(body, early ? block::ThreadOrder::kForward : block::ThreadOrder::kBackward);
    return true;
  });
  return cudaSuccess;
}

}  // namespace mpiquant::cuda

#include "kernels/cuda/codec_kernels.h"
#include "kernels/cuda/forward_kernels.h"
