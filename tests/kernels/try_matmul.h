#pragma once

#include <gtest/gtest.h>

#include <iostream>
#include <memory>

#include "kernels/cpu/matmul.h"
#include "src/base/error.h"

namespace mpiquant {

// Null, and the reason printed, where this processor or this build has no such products.
inline std::unique_ptr<cpu::MatMul> try_matmul(ComputeType type) {
  try {
    return cpu::make_matmul(type);
  } catch (const Error& error) {
    std::cerr << "NOT TESTED: " << error.what() << std::endl;
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_EQ(type, ComputeType::kBF16);
    return nullptr;
  }
}

}  // namespace mpiquant
