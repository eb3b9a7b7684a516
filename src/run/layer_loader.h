#pragma once

#include <functional>
#include <future>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/model_spec.h"
#include "src/model/weights.h"
#include "src/run/codes_file.h"
#include "src/run/job.h"
#include "src/run/model_input.h"
#include "src/run/rotated_source.h"

namespace mpiquant {

// Weights in the form whose activations pass the layers and, where outputs have other transforms, in that of theirs.
template <typename Weights>
struct Forms {
  Weights forward;
  std::optional<Weights> other;
};

// The weights of layers on every replica: each reads a disjoint range of every linear's rows and gets the others' from them.
// Rows are read once for both forms.
class LayerLoader {
 public:
  LayerLoader(Job& job, const TensorSource& source, const ModelSpec& model) : job_(job), source_(source), model_(model) {}
  // other: the other of two forms, as the model is stored and rotated; null: there is one alone.
  LayerLoader(Job& job, const ModelInput& forward, const ModelInput* other) : LayerLoader(job, *forward.source, forward.spec) {
    if (other == nullptr) return;
    turns_ = forward.rotated != nullptr;
    stored_ = turns_ ? other : &forward;
    rotated_ = turns_ ? &forward : other;
  }

  // Begins to read this replica's rows of a layer in the background, for the next load(). One at a time.
  void prefetch(const LayerSpec& layer);
  // Collective over the replicas.
  Forms<LayerWeights> load(const LayerSpec& layer);
  // The first form alone. Collective over the replicas.
  LayerWeights load_forward(const LayerSpec& layer);
  // The same, with the decoded codes in place of the weights of the linears in `codecs` (module → codec). Collective over the
  // replicas.
  LayerWeights load_decoded(const LayerSpec& layer, CodesReader& codes, const std::map<std::string, CodecSpec>& codecs);
  // The weights of the head. Collective over the replicas.
  Forms<LinearWeights> load_head();
  // Of the final norm. Collective over the replicas.
  Forms<VectorWeights> load_final_norm();

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
  using RowForms = Forms<Rows>;
  struct Range {
    std::int64_t begin, end;
  };
  // Rows of a tensor of `rows` that a replica reads.
  Range range_of(const std::string& tensor, std::int64_t rows, int replica) const;
  Rows read_forward(const LinearSpec& linear, const std::string& tensor) const;
  RowForms read_mine(const LinearSpec& linear) const;
  // Of a tensor of the rotated form: the same rows of the stored one, turned.
  std::vector<float> turned(const std::string& tensor, Range range, std::vector<float> stored) const;
  // Puts values of the stored form, and those made of them, where they belong.
  template <typename Value>
  Forms<Value> as_forms(Value stored, Value rotated) const;
  // What one replica reads, on all. Collective over the replicas.
  std::vector<float> read_for_all(int reader, const std::function<std::vector<float>()>& read);
  // With its vectors, which one replica reads for all. Collective over the replicas.
  Forms<LayerWeights> begin(const LayerSpec& layer, bool both);
  LayerWeights begin(const LayerSpec& layer, std::span<const float> vectors);
  // The form whose activations pass the layers, with what `read` gives of each linear. Collective over the replicas.
  LayerWeights load_one(const LayerSpec& layer, const std::function<Rows(const LinearSpec& linear)>& read);
  std::vector<float> turned_vectors(const LayerSpec& layer, std::vector<float> stored) const;
  VectorWeights vector_of(std::span<const float> values);
  void share(const std::string& tensor, const Rows& mine, LinearWeights& weights);

  Job& job_;
  const TensorSource& source_;
  const ModelSpec& model_;
  const ModelInput *stored_ = nullptr, *rotated_ = nullptr;  // where there are two forms
  bool turns_ = false;                                       // the rotated one is that whose activations pass the layers
  std::int64_t ahead_layer_ = -1;
  std::future<std::vector<RowForms>> ahead_;  // of its linears in order
};

}  // namespace mpiquant
