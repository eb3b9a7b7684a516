#pragma once

// The only place that asks which compiler reads the source that host and device share; what it marks is the same code on both.
// MQ_HD: a function compiled for the host and, by nvcc, for the device too.
#ifdef __CUDACC__
#define MQ_HD __host__ __device__
#else
#define MQ_HD
#endif

// MQ_BLOCK_BARRIER: waits for the other threads of a block; the host runs them one after the other. MQ_UNROLL: before a loop
// whose arrays must stay in registers.
#ifdef __CUDA_ARCH__
#define MQ_BLOCK_BARRIER() __syncthreads()
#define MQ_UNROLL _Pragma("unroll")
#else
#define MQ_BLOCK_BARRIER() static_cast<void>(0)
#define MQ_UNROLL
#endif
