// The math functions of float and double by one name each, which the kernels named exp, log, ... do not hide:
// a float is never computed in double.
#pragma once
#include <math.h>

#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// clang-format off
#define FASTNN_MATH1(F)                                                                                  \
  F(exp) F(expm1) F(exp2) F(log) F(log1p) F(log2) F(log10) F(sqrt) F(cbrt) F(sin) F(cos) F(tan) F(asin)  \
  F(acos) F(atan) F(sinh) F(cosh) F(tanh) F(asinh) F(acosh) F(atanh) F(erf) F(erfc) F(floor) F(ceil)     \
  F(trunc)
#define FASTNN_MATH2(F) F(pow) F(atan2) F(hypot) F(fmod) F(copysign)
// clang-format on

#define FASTNN_FUNCTION1(name)                                          \
  __device__ inline float math_##name(float x) { return ::name##f(x); } \
  __device__ inline double math_##name(double x) { return ::name(x); }
#define FASTNN_FUNCTION2(name)                                                      \
  __device__ inline float math_##name(float x, float y) { return ::name##f(x, y); } \
  __device__ inline double math_##name(double x, double y) { return ::name(x, y); }
FASTNN_MATH1(FASTNN_FUNCTION1)
FASTNN_MATH2(FASTNN_FUNCTION2)
FASTNN_FUNCTION1(fabs)
FASTNN_FUNCTION1(rint)
#undef FASTNN_FUNCTION1
#undef FASTNN_FUNCTION2
__device__ inline float math_fma(float x, float y, float z) { return ::fmaf(x, y, z); }
__device__ inline double math_fma(double x, double y, double z) { return ::fma(x, y, z); }

}  // namespace fastnn::cuda
