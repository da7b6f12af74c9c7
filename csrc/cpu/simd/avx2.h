// AVX2 with FMA: what Vec needs beyond the vector extensions. Included by simd.h.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

alignas(32) inline constexpr int32_t kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
FASTNN_INLINE __m256i lanes32(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - n));
}
FASTNN_INLINE __m256i lanes64(int n) { return lanes32(2 * n); }
// The first `bytes` of x, a multiple of 4. In halves, as a masked store takes 18 cycles on Zen 3 whatever its
// mask.
FASTNN_INLINE void store_lanes(void* to, __m256i x, int bytes) {
  char* p = static_cast<char*>(to);
  if (bytes >= 32) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
  __m128i low = _mm256_castsi256_si128(x);
  if (bytes & 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), low);
    low = _mm256_extracti128_si256(x, 1), p += 16;
  }
  if (bytes & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), low);
    low = _mm_unpackhi_epi64(low, low), p += 8;
  }
  if (bytes & 4) _mm_storeu_si32(p, low);
}
template <>
FASTNN_INLINE Vec<float> Vec<float>::load_n(const float* p, int n) {
  return Vec((Native)_mm256_maskload_ps(p, lanes32(n)));
}
template <>
FASTNN_INLINE void Vec<float>::store_n(float* p, int n) const {
  store_lanes(p, (__m256i)v, 4 * n);
}
template <>
FASTNN_INLINE Vec<double> Vec<double>::load_n(const double* p, int n) {
  return Vec((Native)_mm256_maskload_pd(p, lanes64(n)));
}
template <>
FASTNN_INLINE void Vec<double>::store_n(double* p, int n) const {
  store_lanes(p, (__m256i)v, 8 * n);
}
#define FASTNN_MASKED(T, bits, lane, word)                                                    \
  template <>                                                                                 \
  FASTNN_INLINE Vec<T> Vec<T>::load_n(const T* p, int n) {                                    \
    return Vec((Native)_mm256_maskload_epi##bits(reinterpret_cast<const word*>(p), lane(n))); \
  }                                                                                           \
  template <>                                                                                 \
  FASTNN_INLINE void Vec<T>::store_n(T* p, int n) const {                                     \
    store_lanes(p, (__m256i)v, bits / 8 * n);                                                 \
  }
FASTNN_MASKED(int32_t, 32, lanes32, int)
FASTNN_MASKED(uint32_t, 32, lanes32, int)
FASTNN_MASKED(int64_t, 64, lanes64, long long)
FASTNN_MASKED(uint64_t, 64, lanes64, long long)
#undef FASTNN_MASKED
FASTNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return Vec<float>((Vec<float>::Native)_mm256_fmadd_ps((__m256)a.v, (__m256)b.v, (__m256)c.v));
}
FASTNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return Vec<double>((Vec<double>::Native)_mm256_fmadd_pd((__m256d)a.v, (__m256d)b.v, (__m256d)c.v));
}
FASTNN_INLINE Vec<float> sqrt(Vec<float> a) {
  return Vec<float>((Vec<float>::Native)_mm256_sqrt_ps((__m256)a.v));
}
FASTNN_INLINE Vec<double> sqrt(Vec<double> a) {
  return Vec<double>((Vec<double>::Native)_mm256_sqrt_pd((__m256d)a.v));
}
FASTNN_INLINE Vec<float> round(Vec<float> a) {
  return Vec<float>(
      (Vec<float>::Native)_mm256_round_ps((__m256)a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FASTNN_INLINE Vec<double> round(Vec<double> a) {
  return Vec<double>(
      (Vec<double>::Native)_mm256_round_pd((__m256d)a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FASTNN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return Vec<float>((Vec<float>::Native)_mm256_max_ps((__m256)a.v, (__m256)b.v));
}
FASTNN_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return Vec<float>((Vec<float>::Native)_mm256_min_ps((__m256)a.v, (__m256)b.v));
}
FASTNN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return Vec<double>((Vec<double>::Native)_mm256_max_pd((__m256d)a.v, (__m256d)b.v));
}
FASTNN_INLINE Vec<double> min(Vec<double> a, Vec<double> b) {
  return Vec<double>((Vec<double>::Native)_mm256_min_pd((__m256d)a.v, (__m256d)b.v));
}
// The lanes in which a or b is NaN.
FASTNN_INLINE Mask<float> unordered(Vec<float> a, Vec<float> b) {
  return Mask<float>((Mask<float>::Native)_mm256_cmp_ps((__m256)a.v, (__m256)b.v, _CMP_UNORD_Q));
}
FASTNN_INLINE Mask<double> unordered(Vec<double> a, Vec<double> b) {
  return Mask<double>((Mask<double>::Native)_mm256_cmp_pd((__m256d)a.v, (__m256d)b.v, _CMP_UNORD_Q));
}
// The products of the low halves of 64-bit lanes.
FASTNN_INLINE Vec<uint64_t> multiply_low_halves(Vec<uint64_t> a, Vec<uint64_t> b) {
  return Vec<uint64_t>((Vec<uint64_t>::Native)_mm256_mul_epu32((__m256i)a.v, (__m256i)b.v));
}

}  // namespace fastnn::FASTNN_ISA
