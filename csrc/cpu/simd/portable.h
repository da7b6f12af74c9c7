// x86-64 baseline (SSE2) and any other machine: what Vec needs beyond the vector extensions, in loops that
// the compiler maps to its 16-byte vectors. Included by simd.h.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class T>
FASTNN_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a * b + c;
}
template <class T>
FASTNN_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return select(a > b, a, b);
}
template <class T>
FASTNN_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return select(a < b, a, b);
}
FASTNN_INLINE Vec<float> sqrt(Vec<float> a) {
  Vec<float> r;
  for (int i = 0; i < Vec<float>::N; ++i) r.v[i] = __builtin_sqrtf(a.v[i]);
  return r;
}
FASTNN_INLINE Vec<double> sqrt(Vec<double> a) {
  Vec<double> r;
  for (int i = 0; i < Vec<double>::N; ++i) r.v[i] = __builtin_sqrt(a.v[i]);
  return r;
}
// Nearest integer, ties to even: adding and taking away 2^23 (2^52) with a's sign rounds in the adder; larger
// values are whole.
FASTNN_INLINE Vec<float> round(Vec<float> a) {
  const Vec<int32_t> sign = bit_cast<int32_t>(a) & Vec<int32_t>(INT32_MIN);
  const Vec<float> size = bit_cast<float>(bit_cast<int32_t>(a) ^ sign), magic(8388608.0f);
  const Vec<float> whole = (size + magic) - magic;
  return select(size < magic, bit_cast<float>(bit_cast<int32_t>(whole) | sign), a);
}
FASTNN_INLINE Vec<double> round(Vec<double> a) {
  const Vec<int64_t> sign = bit_cast<int64_t>(a) & Vec<int64_t>(INT64_MIN);
  const Vec<double> size = bit_cast<double>(bit_cast<int64_t>(a) ^ sign), magic(4503599627370496.0);
  const Vec<double> whole = (size + magic) - magic;
  return select(size < magic, bit_cast<double>(bit_cast<int64_t>(whole) | sign), a);
}
// The lanes in which a or b is NaN.
template <class T>
FASTNN_INLINE Mask<T> unordered(Vec<T> a, Vec<T> b) {
  return (a != a) | (b != b);
}
// The products of the low halves of 64-bit lanes.
FASTNN_INLINE Vec<uint64_t> multiply_low_halves(Vec<uint64_t> a, Vec<uint64_t> b) {
#if defined(__x86_64__)
  return Vec<uint64_t>((Vec<uint64_t>::Native)_mm_mul_epu32((__m128i)a.v, (__m128i)b.v));
#else
  return (a & Vec<uint64_t>(0xffffffffull)) * (b & Vec<uint64_t>(0xffffffffull));
#endif
}

}  // namespace fastnn::FASTNN_ISA
