#include "kernels/cpu/matmul.h"
#include "src/base/error.h"

namespace mpiquant::cpu {

std::unique_ptr<MatMul> make_bf16_matmul() {
  fail(ExitCode::kUsage,
       "--compute bf16 is not in this build (it was made without oneDNN 2) use --compute f32, or install libdnnl-dev and build "
       "again");
}

}  // namespace mpiquant::cpu
