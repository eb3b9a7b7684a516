#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// A GPU that this process may use.
struct CudaDevice {
  int index = 0;  // among the visible ones
  std::string name;
  std::string pci_id;  // "0000:1b:00.0"
  std::size_t memory = 0;
};

// What CUDA says of this machine: its visible GPUs or, if there are none, why ("no driver …", "this build has no CUDA …"). Never
// throws.
struct CudaMachine {
  std::vector<CudaDevice> devices;
  std::string problem;  // "problem (why it matters) what to do"; empty if there are devices
  bool unfit = false;   // there are some that this build has no code for
};
CudaMachine cuda_machine();

struct CudaOptions {
  int device = 0;
  int streams = 4;                           // units and parts that run at the same time
  ComputeType compute = ComputeType::kBF16;  // of the operands of products; sums are fp32
  bool double_factor = false;                // Cholesky and inverse in fp64 instead of fp32
  bool plain_tiles = false;                  // own loops in place of tensor cores and cuBLAS: slow, to compare with
  std::size_t memory = 0;  // bytes of device memory to take; 0: nine tenths of what is free, when the first buffer is made
};

// The backend of an NVIDIA GPU. Throws (environment error) when there is none, or when this build has no CUDA.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace mpiquant
