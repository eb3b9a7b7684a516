// The kernels of the forward pass and of Hessians, compiled for the device.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_tiles.cuh"

#include "kernels/cuda/forward_kernels.h"
