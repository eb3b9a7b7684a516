#pragma once

// Functions compiled for the host and, by nvcc, for the device too. The only place that asks for nvcc.
#ifdef __CUDACC__
#define MQ_HD __host__ __device__
#else
#define MQ_HD
#endif
