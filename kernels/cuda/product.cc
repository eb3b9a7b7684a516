#include "kernels/cuda/product.h"

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

struct DestroyOperation {
  void operator()(cublasLtMatmulDesc_t operation) const { cublasLtMatmulDescDestroy(operation); }
};
struct DestroyLayout {
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
};
struct DestroyPreference {
  void operator()(cublasLtMatmulPreference_t preference) const { cublasLtMatmulPreferenceDestroy(preference); }
};
using Operation = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulDesc_t>, DestroyOperation>;
using Layout = std::unique_ptr<std::remove_pointer_t<cublasLtMatrixLayout_t>, DestroyLayout>;
using Preference = std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, DestroyPreference>;

Layout make_layout(cudaDataType type, std::int64_t rows, std::int64_t cols, std::int64_t ld) {
  cublasLtMatrixLayout_t layout = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols), ld),
               "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what, T value) {
  check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value),
               "cublasLtMatmulPreferenceSetAttribute");
}

// The largest power of two up to 256 that divides an address.
std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data) | 256U;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

}  // namespace

cublasLtMatmulAlgo_t Products::algorithm(cublasLtHandle_t handle, const Key& key, cublasLtMatmulDesc_t operation,
                                         cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c) {
  const std::lock_guard lock(mutex_);
  if (const auto known = algorithms_.find(key); known != algorithms_.end()) return known->second;
  cublasLtMatmulPreference_t made = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
  const Preference preference(made);
  set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_a);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_b);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_c);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_c);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  check_cublas(cublasLtMatmulAlgoGetHeuristic(handle, operation, a, b, c, c, made, 1, &best, &found),
               "cublasLtMatmulAlgoGetHeuristic");
  check(found == 1 && best.state == CUBLAS_STATUS_SUCCESS, ExitCode::kEnvironment,
        "cuBLAS has no algorithm for a product [{},{}] over {} that gives the same sums every time (results would depend on "
        "chance) "
        "use another version of the CUDA libraries",
        key.m, key.n, key.k);
  algorithms_[key] = best.algo;
  return best.algo;
}

void Products::run(cublasLtHandle_t handle, cudaStream_t stream, std::byte* workspace, const ProductTask& task) {
  if (task.m == 0 || task.n == 0) return;
  const cudaDataType type = task.type;
  cublasLtMatmulDesc_t made = nullptr;
  check_cublas(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const Operation operation(made);
  const cublasOperation_t op_a = task.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                          op_b = task.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  check_cublas(cublasLtMatmulDescSetAttribute(made, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a),
               "cublasLtMatmulDescSetAttribute");
  check_cublas(cublasLtMatmulDescSetAttribute(made, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b),
               "cublasLtMatmulDescSetAttribute");
  const Layout a = task.transpose_a ? make_layout(type, task.k, task.m, task.lda) : make_layout(type, task.m, task.k, task.lda);
  const Layout b = task.transpose_b ? make_layout(type, task.n, task.k, task.ldb) : make_layout(type, task.k, task.n, task.ldb);
  const Layout c = make_layout(CUDA_R_32F, task.m, task.n, task.ldc);
  const Key key{
      task.transpose_a,     task.transpose_b,     task.type,           task.m, task.n, task.k, task.lda, task.ldb, task.ldc,
      alignment_of(task.a), alignment_of(task.b), alignment_of(task.c)};
  const cublasLtMatmulAlgo_t chosen = algorithm(handle, key, made, a.get(), b.get(), c.get());
  const float one = 1, zero = 0;
  check_cublas(cublasLtMatmul(handle, made, &one, task.a, a.get(), task.b, b.get(), &zero, task.c, c.get(), task.c, c.get(),
                              &chosen, workspace, kWorkspace, stream),
               "cublasLtMatmul");
}

}  // namespace mpiquant::cuda
