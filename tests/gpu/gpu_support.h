#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda_backend.h"
#include "src/base/error.h"
#include "tests/kernels/sample.h"

namespace mpiquant {

constexpr std::size_t kTestMemory = std::size_t{1} << 30;  // of the device, for each backend of a test

inline CudaOptions test_gpu(ComputeType compute = ComputeType::kBF16, bool plain_tiles = false, int streams = 2) {
  CudaOptions options;
  options.compute = compute;
  options.plain_tiles = plain_tiles;
  options.streams = streams;
  options.memory = kTestMemory;
  return options;
}

// Runs body on one stream and waits.
inline void on_stream(Backend& backend, const std::function<void(Stream&)>& body) {
  backend.for_each(1, [&](Stream& stream, std::int64_t) { body(stream); });
}

// A copy of a host matrix on a backend, rows `pad` floats further apart than its columns need.
struct OnDevice {
  OnDevice(Backend& backend_in, const Sample& host, std::int64_t pad = 0)
      : backend(&backend_in),
        rows(host.rows),
        cols(host.cols),
        ld(host.cols + pad),
        buffer(backend_in.allocate(static_cast<std::size_t>(rows * ld) * sizeof(float))) {
    on_stream(*backend, [&](Stream& stream) { backend->upload(stream, host.values, view()); });
  }
  Matrix view() const {
    Matrix out = buffer.matrix(rows, ld);
    out.cols = cols;
    return out;
  }
  Sample host() const {
    Sample out(rows, cols, 0);
    on_stream(*backend, [&](Stream& stream) { backend->download(stream, view(), out.values); });
    return out;
  }
  Backend* backend;
  std::int64_t rows, cols, ld;
  BackendBuffer buffer;
};

// All of a buffer as floats, on the host.
inline std::vector<float> floats_of(Backend& backend, const BackendBuffer& buffer) {
  std::vector<float> out(buffer.bytes() / sizeof(float));
  on_stream(backend,
            [&](Stream& stream) { backend.download(stream, buffer.matrix(1, static_cast<std::int64_t>(out.size())), out); });
  return out;
}

inline double largest_difference(const Sample& a, const Sample& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a.values[i]) - static_cast<double>(b.values[i]));
    if (!(difference <= worst)) worst = difference;  // NaN counts
  }
  return worst;
}

inline ExitCode code_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::kDone;
}

}  // namespace mpiquant
