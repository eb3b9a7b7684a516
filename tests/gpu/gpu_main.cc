#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/cuda_backend.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // SKIP_RETURN_CODE
  testing::InitGoogleTest(&argc, argv);
  const mpiquant::CudaMachine machine = mpiquant::cuda_machine();
  if (machine.devices.empty()) {
    std::fprintf(stderr, "SKIPPED, nothing was tested: %s\n", machine.problem.c_str());
    return kSkipped;
  }
  for (const mpiquant::CudaDevice& device : machine.devices)
    std::printf("GPU %d: %s, %zu MB, PCI %s\n", device.index, device.name.c_str(), device.memory >> 20, device.pci_id.c_str());
  return RUN_ALL_TESTS();
}
