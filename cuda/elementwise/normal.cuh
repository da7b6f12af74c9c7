// GELU in terms of the normal distribution, accurate in both tails.
#pragma once
#include "cuda/common/scalar.cuh"

namespace fastnn::cuda {

// P(X <= x) of a standard normal variable X.
template <Floating T>
__device__ inline Scalar<T> normal_below(Scalar<T> x) {
  using W = Scalar<T>;
  return W::constant(0.5) * erfc(x * W::constant(-0.7071067811865476));
}
template <Floating T>
__device__ inline Scalar<T> gelu(Scalar<T> x) {
  return x * normal_below(x);
}
template <Floating T>
__device__ inline Scalar<T> gelu_derivative(Scalar<T> x) {
  using W = Scalar<T>;
  const W density = W::constant(0.3989422804014327) * exp(W::constant(-0.5) * x * x);
  return fma(x, density, normal_below(x));
}

// 2 u, u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + tanh(u)) / 2 = sigmoid(2 u).
constexpr double kGeluSlope = 1.5957691216057308, kGeluCubic = 0.07135481627260025;

template <Floating T>
__device__ inline Scalar<T> gelu_tanh(Scalar<T> x) {
  using W = Scalar<T>;
  return x * sigmoid(x * fma(x * x, W::constant(kGeluCubic), W::constant(kGeluSlope)));
}
template <Floating T>
__device__ inline Scalar<T> gelu_tanh_derivative(Scalar<T> x) {
  using W = Scalar<T>;
  const W end = W::constant(64);  // beyond it the sigmoid is 0 or 1
  const W bounded = select(x < -end, -end, select(x > end, end, x));
  const W square = bounded * bounded;
  const W s = sigmoid(bounded * fma(square, W::constant(kGeluCubic), W::constant(kGeluSlope)));
  const W inner = bounded * fma(square, W::constant(3 * kGeluCubic), W::constant(kGeluSlope));
  return fma(s * (W::constant(1) - s), inner, s);
}

}  // namespace fastnn::cuda
