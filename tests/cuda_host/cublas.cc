// Products of cuBLASLt by OpenBLAS, in fp32 on operands widened to it.
#include <cblas.h>
#include <cublasLt.h>

#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/block/block.h"
#include "tests/cuda_host/streams.h"

struct cublasLtContext {};

namespace {

namespace block = mpiquant::block;

struct Operation {
  cublasOperation_t a, b;
};
struct Layout {
  cudaDataType type;
  std::uint64_t rows, cols;
  std::int64_t ld;
};

template <typename What, typename Opaque>
What& inside(Opaque* opaque) {
  static_assert(sizeof(What) <= sizeof(Opaque));
  return *reinterpret_cast<What*>(opaque);
}

template <typename Element>
std::vector<float> widened(const void* data, const Layout& layout) {
  const auto* from = static_cast<const Element*>(data);
  std::vector<float> out(layout.rows * layout.cols);
  for (std::uint64_t c = 0; c < layout.cols; ++c)
    for (std::uint64_t r = 0; r < layout.rows; ++r)
      out[c * layout.rows + r] = block::to_float(from[c * static_cast<std::uint64_t>(layout.ld) + r]);
  return out;
}

std::vector<float> dense(const void* data, const Layout& layout) {
  switch (layout.type) {
    case CUDA_R_16BF: return widened<block::Bf16>(data, layout);
    case CUDA_R_16F: return widened<block::Half>(data, layout);
    default: return widened<float>(data, layout);
  }
}

void multiply(const Operation& operation, const void* a, const Layout& la, const void* b, const Layout& lb, float* c,
              const Layout& lc) {
  const std::vector<float> left = dense(a, la), right = dense(b, lb);
  const auto blas = [](cublasOperation_t op) { return op == CUBLAS_OP_T ? CblasTrans : CblasNoTrans; };
  const auto size = [](std::uint64_t n) { return static_cast<int>(n); };
  cblas_sgemm(CblasColMajor, blas(operation.a), blas(operation.b), size(lc.rows), size(lc.cols),
              size(operation.a == CUBLAS_OP_T ? la.rows : la.cols), 1, left.data(), size(la.rows), right.data(), size(lb.rows), 0,
              c, static_cast<int>(lc.ld));
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusString(cublasStatus_t) { return "an error of cuBLASLt on the host"; }
size_t cublasLtGetVersion() { return 0; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *made = new cublasLtMatmulDescOpaque_t{};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete operation;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t made, cublasLtMatmulDescAttributes_t what, const void* value,
                                              size_t bytes) {
  auto& operation = inside<Operation>(made);
  if (bytes != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
  if (what == CUBLASLT_MATMUL_DESC_TRANSA)
    std::memcpy(&operation.a, value, bytes);
  else if (what == CUBLASLT_MATMUL_DESC_TRANSB)
    std::memcpy(&operation.b, value, bytes);
  else
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld) {
  if (ld < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *made = new cublasLtMatrixLayoutOpaque_t{};
  inside<Layout>(*made) = {type, rows, cols, ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = new cublasLtMatmulPreferenceOpaque_t{};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void*,
                                                    size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t made, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int wanted, cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  const auto& operation = inside<Operation>(made);
  const auto &la = inside<Layout>(a), &lb = inside<Layout>(b), &lc = inside<Layout>(c);
  const std::uint64_t m = operation.a == CUBLAS_OP_T ? la.cols : la.rows, k = operation.a == CUBLAS_OP_T ? la.rows : la.cols;
  const std::uint64_t n = operation.b == CUBLAS_OP_T ? lb.rows : lb.cols, k2 = operation.b == CUBLAS_OP_T ? lb.cols : lb.rows;
  const bool fits = wanted >= 1 && m == lc.rows && n == lc.cols && k == k2 && la.type == lb.type && lc.type == CUDA_R_32F;
  *found = fits ? 1 : 0;
  if (!fits) return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  results[0].state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t made, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void*, cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t*, void*, size_t, cudaStream_t stream) {
  if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  mpiquant::cuda_host::Streams::all().enqueue(
      stream, [operation = inside<Operation>(made), a, la = inside<Layout>(a_layout), b, lb = inside<Layout>(b_layout),
               c = static_cast<float*>(d), lc = inside<Layout>(d_layout)] {
        multiply(operation, a, la, b, lb, c, lc);
        return true;
      });
  return CUBLAS_STATUS_SUCCESS;
}
