#include <cblas.h>

#include "kernels/cpu/matmul.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

blasint size(std::int64_t n) { return static_cast<blasint>(n); }

class OpenBlas final : public MatMul {
 public:
  std::string identity() const override { return "f32 products"; }  // the backend's identity names OpenBLAS
  Operand operand(ConstMatrix x) const override { return {x, {}}; }
  std::int64_t chunk_tokens() const override { return 256; }

  void by_transpose(const Operand& x, const Operand& w, Matrix y) const override {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(y.rows), size(y.cols), size(x.matrix.cols), 1.0F, x.matrix.data,
                size(x.matrix.ld), w.matrix.data, size(w.matrix.ld), 0.0F, y.data, size(y.ld));
  }

  void cross(const Operand& a, std::int64_t a_first, const Operand& b, std::int64_t b_first, Matrix y) const override {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, size(y.rows), size(y.cols), size(a.matrix.rows), 1.0F,
                a.matrix.data + a_first, size(a.matrix.ld), b.matrix.data + b_first, size(b.matrix.ld), 0.0F, y.data, size(y.ld));
  }

  std::int64_t gram_tile() const override { return 256; }

  void gram(const Operand& x, std::int64_t first, std::int64_t second, Matrix y) const override {
    if (first == second && y.rows == y.cols)
      return cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, size(y.rows), size(x.matrix.rows), 1.0F, x.matrix.data + first,
                         size(x.matrix.ld), 0.0F, y.data, size(y.ld));
    cross(x, first, x, second, y);
  }
};

}  // namespace

std::unique_ptr<MatMul> make_f32_matmul() { return std::make_unique<OpenBlas>(); }

std::unique_ptr<MatMul> make_matmul(ComputeType type) {
  check(type != ComputeType::kF16, ExitCode::kUsage,
        "--compute f16 needs a GPU (processors have no fast products in it) use f32 or bf16 here");
  return type == ComputeType::kBF16 ? make_bf16_matmul() : make_f32_matmul();
}

}  // namespace mpiquant::cpu
