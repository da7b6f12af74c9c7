// The math functions of float and double by one name each, which the kernels named exp, log, ... do not hide.
#pragma once
#include <math.h>

#include "cuda/common/common.cuh"

namespace fastnn::cuda {

#define FASTNN_MATH1(name)                                              \
  __device__ inline float math_##name(float x) { return ::name##f(x); } \
  __device__ inline double math_##name(double x) { return ::name(x); }
FASTNN_MATH1(exp)
FASTNN_MATH1(log)
FASTNN_MATH1(sqrt)
FASTNN_MATH1(tanh)
FASTNN_MATH1(erf)
FASTNN_MATH1(erfc)
FASTNN_MATH1(rint)
#undef FASTNN_MATH1
__device__ inline float math_abs(float x) { return ::fabsf(x); }
__device__ inline double math_abs(double x) { return ::fabs(x); }
__device__ inline float math_pow(float x, float y) { return ::powf(x, y); }
__device__ inline double math_pow(double x, double y) { return ::pow(x, y); }
__device__ inline float math_fma(float x, float y, float z) { return ::fmaf(x, y, z); }
__device__ inline double math_fma(double x, double y, double z) { return ::fma(x, y, z); }

}  // namespace fastnn::cuda
