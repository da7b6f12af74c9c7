// Functions that kernels of either kind call: on a device too, where nvcc compiles them.
#pragma once

#ifdef __CUDACC__
#define FASTNN_HOST_DEVICE __host__ __device__
#else
#define FASTNN_HOST_DEVICE
#endif
