// The kernels of codecs and of the column sweep, compiled for the device.
#include "kernels/cuda/launch.cuh"

#include "kernels/cuda/codec_kernels.h"
