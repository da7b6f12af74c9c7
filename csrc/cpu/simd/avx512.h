// AVX-512: what Vec needs beyond the vector extensions. Included by simd.h.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

FASTNN_INLINE __mmask16 lanes16(int n) { return static_cast<__mmask16>((1u << n) - 1); }
FASTNN_INLINE __mmask8 lanes8(int n) { return static_cast<__mmask8>((1u << n) - 1); }
template <>
FASTNN_INLINE Vec<float> Vec<float>::load_n(const float* p, int n) {
  return Vec((Native)_mm512_maskz_loadu_ps(lanes16(n), p));
}
template <>
FASTNN_INLINE void Vec<float>::store_n(float* p, int n) const {
  _mm512_mask_storeu_ps(p, lanes16(n), (__m512)v);
}
template <>
FASTNN_INLINE Vec<double> Vec<double>::load_n(const double* p, int n) {
  return Vec((Native)_mm512_maskz_loadu_pd(lanes8(n), p));
}
template <>
FASTNN_INLINE void Vec<double>::store_n(double* p, int n) const {
  _mm512_mask_storeu_pd(p, lanes8(n), (__m512d)v);
}
#define FASTNN_MASKED(T, bits, lanes)                              \
  template <>                                                      \
  FASTNN_INLINE Vec<T> Vec<T>::load_n(const T* p, int n) {         \
    return Vec((Native)_mm512_maskz_loadu_epi##bits(lanes(n), p)); \
  }                                                                \
  template <>                                                      \
  FASTNN_INLINE void Vec<T>::store_n(T* p, int n) const {          \
    _mm512_mask_storeu_epi##bits(p, lanes(n), (__m512i)v);         \
  }
FASTNN_INLINE __mmask64 lanes64(int n) { return _bzhi_u64(~uint64_t(0), static_cast<unsigned>(n)); }
FASTNN_MASKED(uint8_t, 8, lanes64)
FASTNN_MASKED(int32_t, 32, lanes16)
FASTNN_MASKED(uint32_t, 32, lanes16)
FASTNN_MASKED(int64_t, 64, lanes8)
FASTNN_MASKED(uint64_t, 64, lanes8)
#undef FASTNN_MASKED
FASTNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return Vec<float>((Vec<float>::Native)_mm512_fmadd_ps((__m512)a.v, (__m512)b.v, (__m512)c.v));
}
FASTNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return Vec<double>((Vec<double>::Native)_mm512_fmadd_pd((__m512d)a.v, (__m512d)b.v, (__m512d)c.v));
}
FASTNN_INLINE Vec<float> sqrt(Vec<float> a) {
  return Vec<float>((Vec<float>::Native)_mm512_sqrt_ps((__m512)a.v));
}
FASTNN_INLINE Vec<double> sqrt(Vec<double> a) {
  return Vec<double>((Vec<double>::Native)_mm512_sqrt_pd((__m512d)a.v));
}
// Nearest integer, ties to even.
FASTNN_INLINE Vec<float> round(Vec<float> a) {
  return Vec<float>(
      (Vec<float>::Native)_mm512_roundscale_ps((__m512)a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FASTNN_INLINE Vec<double> round(Vec<double> a) {
  return Vec<double>(
      (Vec<double>::Native)_mm512_roundscale_pd((__m512d)a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// As the instruction does it: b where either is NaN.
FASTNN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return Vec<float>((Vec<float>::Native)_mm512_max_ps((__m512)a.v, (__m512)b.v));
}
FASTNN_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return Vec<float>((Vec<float>::Native)_mm512_min_ps((__m512)a.v, (__m512)b.v));
}
FASTNN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return Vec<double>((Vec<double>::Native)_mm512_max_pd((__m512d)a.v, (__m512d)b.v));
}
FASTNN_INLINE Vec<double> min(Vec<double> a, Vec<double> b) {
  return Vec<double>((Vec<double>::Native)_mm512_min_pd((__m512d)a.v, (__m512d)b.v));
}
// The lanes in which a or b is NaN.
FASTNN_INLINE Mask<float> unordered(Vec<float> a, Vec<float> b) {
  return Mask<float>(
      (Mask<float>::Native)_mm512_movm_epi32(_mm512_cmp_ps_mask((__m512)a.v, (__m512)b.v, _CMP_UNORD_Q)));
}
FASTNN_INLINE Mask<double> unordered(Vec<double> a, Vec<double> b) {
  return Mask<double>(
      (Mask<double>::Native)_mm512_movm_epi64(_mm512_cmp_pd_mask((__m512d)a.v, (__m512d)b.v, _CMP_UNORD_Q)));
}
// The products of the low halves of 64-bit lanes.
FASTNN_INLINE Vec<uint64_t> multiply_low_halves(Vec<uint64_t> a, Vec<uint64_t> b) {
  return Vec<uint64_t>((Vec<uint64_t>::Native)_mm512_mul_epu32((__m512i)a.v, (__m512i)b.v));
}

}  // namespace fastnn::FASTNN_ISA
