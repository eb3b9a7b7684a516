#pragma once

#include <functional>
#include <future>
#include <map>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/model_spec.h"
#include "src/model/weights.h"
#include "src/run/codes_file.h"
#include "src/run/job.h"

namespace mpiquant {

// The weights of layers on every replica: each reads a disjoint range of every linear's rows and gets the others' from them.
class LayerLoader {
 public:
  LayerLoader(Job& job, const TensorSource& source, const ModelSpec& model) : job_(job), source_(source), model_(model) {}

  // Begins to read this replica's rows of a layer in the background, for the next load(). One at a time.
  void prefetch(const LayerSpec& layer);
  // Collective over the replicas.
  LayerWeights load(const LayerSpec& layer);
  // The same, with the decoded codes in place of the weights of the linears in `codecs` (module → codec). Collective over the
  // replicas.
  LayerWeights load_decoded(const LayerSpec& layer, CodesReader& codes, const std::map<std::string, CodecSpec>& codecs);
  // One linear, without bias, stored as `tensor`. Collective over the replicas.
  LinearWeights load_linear(const LinearSpec& linear, const std::string& tensor);
  // A vector [size]. Collective over the replicas.
  VectorWeights load_vector(const std::string& tensor, std::int64_t size);

 private:
  // This replica's rows of a linear: in fp32 or, for a device, as they lie in the file, half as large.
  struct Rows {
    std::vector<float> values;
    BackendBuffer stored;
    DType dtype = DType::kF32;

    std::span<const std::byte> bytes() const {
      return dtype == DType::kF32 ? std::as_bytes(std::span(values)) : std::span<const std::byte>(stored.data(), stored.bytes());
    }
  };
  struct Range {
    std::int64_t begin, end;
  };
  // Rows of a tensor of `rows` that a replica reads.
  Range range_of(const std::string& tensor, std::int64_t rows, int replica) const;
  Rows read_mine(const LinearSpec& linear, const std::string& tensor) const;
  // What one replica reads, on all. Collective over the replicas.
  std::vector<float> read_for_all(int reader, const std::function<std::vector<float>()>& read);
  // With its vectors, which one replica reads for all. Collective over the replicas.
  LayerWeights begin(const LayerSpec& layer);
  void share(const std::string& tensor, const Rows& mine, LinearWeights& weights);

  Job& job_;
  const TensorSource& source_;
  const ModelSpec& model_;
  std::int64_t ahead_layer_ = -1;
  std::future<std::vector<Rows>> ahead_;  // of its linears in order
};

}  // namespace mpiquant
