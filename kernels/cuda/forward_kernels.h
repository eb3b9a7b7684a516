// The kernels of the forward pass and of Hessians: instances of launch(), whose definition, and that of TensorTiles, the
// including file has. Included once in a program.
#pragma once

#include "kernels/block/forward.h"
#include "kernels/block/hessian.h"

namespace mpiquant::cuda {

using namespace block;

template cudaError_t launch(const ForEachElement<AddOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<CopyOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<BiasOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<ToBitsOp<Bf16>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<ToBitsOp<Half>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<FromBitsOp<Bf16>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<FromBitsOp<Half>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<SiluGateOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<RotaryOp>&, cudaStream_t);
template cudaError_t launch(const RmsNorm&, cudaStream_t);

template cudaError_t launch(const Attention<Bf16, TensorTiles, 64>&, cudaStream_t);
template cudaError_t launch(const Attention<Half, TensorTiles, 64>&, cudaStream_t);
template cudaError_t launch(const Attention<Bf16, TensorTiles, 16>&, cudaStream_t);
template cudaError_t launch(const Attention<Half, TensorTiles, 16>&, cudaStream_t);
template cudaError_t launch(const Attention<Bf16, PlainTiles, 16>&, cudaStream_t);
template cudaError_t launch(const Attention<Half, PlainTiles, 16>&, cudaStream_t);
template cudaError_t launch(const Attention<float, PlainTiles, 16>&, cudaStream_t);

template cudaError_t launch(const PanelProduct<Bf16>&, cudaStream_t);
template cudaError_t launch(const PanelProduct<Half>&, cudaStream_t);
template cudaError_t launch(const PanelProduct<float>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<AddRoundedOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<RoundSumOp>&, cudaStream_t);
template cudaError_t launch(const ColumnSquares<Bf16>&, cudaStream_t);
template cudaError_t launch(const ColumnSquares<Half>&, cudaStream_t);
template cudaError_t launch(const ColumnSquares<float>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<DiagonalOp>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<ReversedHessianOp<float>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<ReversedHessianOp<double>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<PivotOp<float>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<PivotOp<double>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<FactorOp<float>>&, cudaStream_t);
template cudaError_t launch(const ForEachElement<FactorOp<double>>&, cudaStream_t);

}  // namespace mpiquant::cuda
