// The kernels of codecs and of the column sweep: instances of launch(), whose definition, and that of TensorTiles, the including
// file has. Included once in a program.
#pragma once

#include "kernels/block/codec.h"
#include "kernels/block/sweep.h"
#include "kernels/codec/grids.h"

namespace mpiquant::cuda {

using namespace block;

#define MQ_GRID_KERNELS(Grid)                                                       \
  template cudaError_t launch(const ForEachElement<FitOp<Grid>>&, cudaStream_t);    \
  template cudaError_t launch(const ForEachElement<RoundOp<Grid>>&, cudaStream_t);  \
  template cudaError_t launch(const ForEachElement<DecodeOp<Grid>>&, cudaStream_t); \
  template cudaError_t launch(const SweepBlock<Grid>&, cudaStream_t);

MQ_GRID_KERNELS(codec::IntGroup)
MQ_GRID_KERNELS(codec::Q8_0)
MQ_GRID_KERNELS(codec::Q4_0)
MQ_GRID_KERNELS(codec::Q4_1)

template cudaError_t launch(const ForEachElement<FindNonFiniteOp>&, cudaStream_t);
template cudaError_t launch(const MakePanel&, cudaStream_t);
template cudaError_t launch(const SweepUpdate&, cudaStream_t);
template cudaError_t launch(const TransposeBytes&, cudaStream_t);

}  // namespace mpiquant::cuda
