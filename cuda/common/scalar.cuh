// A number in a formula: Scalar<float> x, y; y = exp(-x) * Scalar<float>::constant(0.5). What rows of
// elementwise ops are instantiated with on a device.
//
// It mixes with nothing but itself: a bare 0.5 in a formula for float, which would make the compiler compute
// in double, is an error. Integers wrap around. Comparisons give bool.
#pragma once
#include "cuda/common/math.cuh"

namespace fastnn::cuda {

template <class T>
struct Scalar {
  T v;

  Scalar() = default;
  template <std::same_as<T> U>
  __host__ __device__ constexpr explicit Scalar(U x) : v(x) {}
  __host__ __device__ static constexpr Scalar constant(double x) { return Scalar(static_cast<T>(x)); }
  __host__ __device__ static constexpr Scalar zero() { return Scalar(T(0)); }
};

// ---- arithmetic: unsigned numbers wrap around where an overflow of signed ones is undefined

template <Floating T>
__device__ inline Scalar<T> operator+(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(a.v + b.v);
}
template <Floating T>
__device__ inline Scalar<T> operator-(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(a.v - b.v);
}
template <Floating T>
__device__ inline Scalar<T> operator*(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(a.v * b.v);
}
template <Floating T>
__device__ inline Scalar<T> operator/(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(a.v / b.v);
}
template <Floating T>
__device__ inline Scalar<T> operator-(Scalar<T> x) {
  return Scalar<T>(-x.v);
}
template <Integral T>
__device__ inline Scalar<T> operator+(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(static_cast<Unsigned<T>>(a.v) + static_cast<Unsigned<T>>(b.v)));
}
template <Integral T>
__device__ inline Scalar<T> operator-(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(static_cast<Unsigned<T>>(a.v) - static_cast<Unsigned<T>>(b.v)));
}
template <Integral T>
__device__ inline Scalar<T> operator*(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(static_cast<Unsigned<T>>(a.v) * static_cast<Unsigned<T>>(b.v)));
}
template <Integral T>
__device__ inline Scalar<T> operator-(Scalar<T> x) {
  return Scalar<T>::zero() - x;
}
template <Integral T>
__device__ inline Scalar<T> operator/(Scalar<T> a, Scalar<T> b) {  // towards zero
  if constexpr (T(-1) < T(0))
    if (b.v == T(-1)) return -a;
  return Scalar<T>(static_cast<T>(a.v / b.v));
}
template <Integral T>
__device__ inline Scalar<T> operator&(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(a.v & b.v));
}
template <Integral T>
__device__ inline Scalar<T> operator|(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(a.v | b.v));
}
template <Integral T>
__device__ inline Scalar<T> operator^(Scalar<T> a, Scalar<T> b) {
  return Scalar<T>(static_cast<T>(a.v ^ b.v));
}

// ---- comparisons and choice

template <class T>
__device__ inline bool operator==(Scalar<T> a, Scalar<T> b) {
  return a.v == b.v;
}
template <class T>
__device__ inline bool operator!=(Scalar<T> a, Scalar<T> b) {
  return a.v != b.v;
}
template <class T>
__device__ inline bool operator<(Scalar<T> a, Scalar<T> b) {
  return a.v < b.v;
}
template <class T>
__device__ inline bool operator<=(Scalar<T> a, Scalar<T> b) {
  return a.v <= b.v;
}
template <class T>
__device__ inline bool operator>(Scalar<T> a, Scalar<T> b) {
  return a.v > b.v;
}
template <class T>
__device__ inline bool operator>=(Scalar<T> a, Scalar<T> b) {
  return a.v >= b.v;
}
template <class T>
__device__ inline Scalar<T> select(bool condition, Scalar<T> a, Scalar<T> b) {
  return condition ? a : b;
}
// b where either is NaN.
template <class T>
__device__ inline Scalar<T> max(Scalar<T> a, Scalar<T> b) {
  return a > b ? a : b;
}
template <class T>
__device__ inline Scalar<T> min(Scalar<T> a, Scalar<T> b) {
  return a < b ? a : b;
}

// ---- functions

template <Floating T>
__device__ inline Scalar<T> abs(Scalar<T> x) {
  return Scalar<T>(math_fabs(x.v));
}
template <Integral T>
__device__ inline Scalar<T> abs(Scalar<T> x) {  // the smallest integer stays itself
  return x < Scalar<T>::zero() ? -x : x;
}

template <class T>
__device__ inline Scalar<T> sign(Scalar<T> x) {  // of NaN NaN, of a zero that zero
  const Scalar<T> zero = Scalar<T>::zero(), one = Scalar<T>::constant(1);
  return select(x > zero, one, select(x < zero, zero - one, x));
}

#define FASTNN_SCALAR1(name)                      \
  template <Floating T>                           \
  __device__ inline Scalar<T> name(Scalar<T> x) { \
    return Scalar<T>(math_##name(x.v));           \
  }
#define FASTNN_SCALAR2(name)                                   \
  template <Floating T>                                        \
  __device__ inline Scalar<T> name(Scalar<T> a, Scalar<T> b) { \
    return Scalar<T>(math_##name(a.v, b.v));                   \
  }
FASTNN_MATH1(FASTNN_SCALAR1)
FASTNN_MATH2(FASTNN_SCALAR2)
#undef FASTNN_SCALAR1
#undef FASTNN_SCALAR2

template <Floating T>
__device__ inline Scalar<T> fma(Scalar<T> a, Scalar<T> b, Scalar<T> c) {
  return Scalar<T>(math_fma(a.v, b.v, c.v));
}
template <Floating T>
__device__ inline Scalar<T> round(Scalar<T> x) {  // halves to even
  return Scalar<T>(math_rint(x.v));
}
template <Floating T>
__device__ inline Scalar<T> rsqrt(Scalar<T> x) {
  return Scalar<T>(T(1) / math_sqrt(x.v));
}
// 1 / (1 + e^-x) in e^-|x|, so that neither end overflows.
template <Floating T>
__device__ inline Scalar<T> sigmoid(Scalar<T> x) {
  const T e = math_exp(-math_fabs(x.v));
  return Scalar<T>((x.v < T(0) ? e : T(1)) / (T(1) + e));
}

}  // namespace fastnn::cuda
