#pragma once

#include "io/tensor_source.h"
#include "src/base/model_spec.h"
#include "src/model/weights.h"
#include "src/run/job.h"

namespace mpiquant {

// The weights of a layer on every replica: each reads a disjoint range of every linear's rows and gets the others' from them.
// Collective over the replicas.
LayerWeights load_shared_layer(Job& job, const TensorSource& source, const ModelSpec& model, const LayerSpec& layer);

// The same for one linear, without bias, stored as `tensor`.
LinearWeights load_shared_linear(Job& job, const TensorSource& source, const LinearSpec& linear, const std::string& tensor);

}  // namespace mpiquant
