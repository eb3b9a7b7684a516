#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/comm/communicator.h"

namespace mpiquant {

// How far one decoded tensor is from the original: |W - W'| / |W| (Frobenius); 0 where both are zero.
struct TensorDistance {
  std::string name;
  double relative_error = 0;
};

struct Verification {
  std::string path;
  bool has_sums = false;   // SHA256SUMS was there
  std::int64_t files = 0;  // whose sums were compared
  std::int64_t tensors = 0;
  std::int64_t values = 0;  // decoded
  std::vector<std::string> problems;
  bool compared = false;
  std::vector<TensorDistance> distances;  // by name

  const TensorDistance* worst() const;  // nullptr when nothing was compared
};

struct VerifyRequest {
  std::string path;                    // repository, GGUF file or id of the local Hugging Face cache
  std::optional<std::string> against;  // the original
  int threads = 1;
};

// Checks an output: SHA256SUMS if it is there, the headers of all files, shapes against the configuration, and that every tensor
// decodes to finite numbers. What is wrong with the output goes to `problems`, all of it; what is not there or an original of
// another architecture or shape is an input error. Streams: memory is bounded by some rows a thread. Collective; the ranks share
// files and rows, and the result does not depend on their number.
Verification verify(Communicator& world, const VerifyRequest& request);

Json to_json(const Verification& result);
std::string to_text(const Verification& result);

}  // namespace mpiquant
