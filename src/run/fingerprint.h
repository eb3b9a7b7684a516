#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/comm/communicator.h"
#include "src/run/model_input.h"

namespace mpiquant {

// Throws, on every rank, when the ranks see different files: each hashes config.json and pieces of the tensors, at the cost of a
// few hundred small reads. Collective.
void require_same_files(Communicator& world, const ModelInput& model);

// Of a model's tensors, without reading them whole: names, stored types, shapes, and the first, middle and last 4 KiB of each,
// every rank reading a share. The same for the same tensors, however they are filed. 32 hexadecimal digits. Collective.
std::string model_fingerprint(Communicator& world, const TensorSource& source);

// A file that holds weights of a model, or the index of such files.
struct WeightFile {
  std::string path;
  std::int64_t bytes;
  std::int64_t modified;  // ns, as the file system says
};
std::vector<WeightFile> weight_files(const ModelInput& model);

// Names, sizes and times: other contents have others.
std::string stamps(const std::vector<WeightFile>& files);

}  // namespace mpiquant
