// Pairs of vectors to even and odd elements and back: {a0 b0 a1 b1 ...} <-> {a0 a1 ...}, {b0 b1 ...}.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct Both {
  Vec<T> a, b;
};

#if defined(__AVX512F__)
// `low` and `high` follow each other in memory.
FASTNN_INLINE Both<float> deinterleave(Vec<float> low, Vec<float> high) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  return {(Vec<float>::Native)_mm512_permutex2var_ps((__m512)low.v, even, (__m512)high.v),
          (Vec<float>::Native)_mm512_permutex2var_ps((__m512)low.v, odd, (__m512)high.v)};
}
FASTNN_INLINE Both<double> deinterleave(Vec<double> low, Vec<double> high) {
  const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi64(1));
  return {(Vec<double>::Native)_mm512_permutex2var_pd((__m512d)low.v, even, (__m512d)high.v),
          (Vec<double>::Native)_mm512_permutex2var_pd((__m512d)low.v, odd, (__m512d)high.v)};
}
// The result's a comes first in memory, then b.
FASTNN_INLINE Both<float> interleave(Vec<float> a, Vec<float> b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  return {(Vec<float>::Native)_mm512_permutex2var_ps((__m512)a.v, low, (__m512)b.v),
          (Vec<float>::Native)_mm512_permutex2var_ps((__m512)a.v, high, (__m512)b.v)};
}
FASTNN_INLINE Both<double> interleave(Vec<double> a, Vec<double> b) {
  const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
  return {(Vec<double>::Native)_mm512_permutex2var_pd((__m512d)a.v, low, (__m512d)b.v),
          (Vec<double>::Native)_mm512_permutex2var_pd((__m512d)a.v, high, (__m512d)b.v)};
}
#elif defined(__AVX2__)
// The shuffles work within 16-byte halves; a permutation of 8-byte or 16-byte parts puts those in order.
FASTNN_INLINE Vec<float> in_order(__m256 v) {
  return (Vec<float>::Native)_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8);
}
FASTNN_INLINE Vec<double> in_order(__m256d v) { return (Vec<double>::Native)_mm256_permute4x64_pd(v, 0xd8); }
FASTNN_INLINE Both<float> deinterleave(Vec<float> low, Vec<float> high) {
  return {in_order(_mm256_shuffle_ps((__m256)low.v, (__m256)high.v, 0x88)),
          in_order(_mm256_shuffle_ps((__m256)low.v, (__m256)high.v, 0xdd))};
}
FASTNN_INLINE Both<double> deinterleave(Vec<double> low, Vec<double> high) {
  return {in_order(_mm256_shuffle_pd((__m256d)low.v, (__m256d)high.v, 0x0)),
          in_order(_mm256_shuffle_pd((__m256d)low.v, (__m256d)high.v, 0xf))};
}
FASTNN_INLINE Both<float> interleave(Vec<float> a, Vec<float> b) {
  const __m256 x = _mm256_unpacklo_ps((__m256)a.v, (__m256)b.v),
               y = _mm256_unpackhi_ps((__m256)a.v, (__m256)b.v);
  return {(Vec<float>::Native)_mm256_permute2f128_ps(x, y, 0x20),
          (Vec<float>::Native)_mm256_permute2f128_ps(x, y, 0x31)};
}
FASTNN_INLINE Both<double> interleave(Vec<double> a, Vec<double> b) {
  const __m256d x = _mm256_unpacklo_pd((__m256d)a.v, (__m256d)b.v),
                y = _mm256_unpackhi_pd((__m256d)a.v, (__m256d)b.v);
  return {(Vec<double>::Native)_mm256_permute2f128_pd(x, y, 0x20),
          (Vec<double>::Native)_mm256_permute2f128_pd(x, y, 0x31)};
}
#elif defined(__x86_64__)
FASTNN_INLINE Both<float> deinterleave(Vec<float> low, Vec<float> high) {
  return {(Vec<float>::Native)_mm_shuffle_ps((__m128)low.v, (__m128)high.v, 0x88),
          (Vec<float>::Native)_mm_shuffle_ps((__m128)low.v, (__m128)high.v, 0xdd)};
}
FASTNN_INLINE Both<double> deinterleave(Vec<double> low, Vec<double> high) {
  return {(Vec<double>::Native)_mm_unpacklo_pd((__m128d)low.v, (__m128d)high.v),
          (Vec<double>::Native)_mm_unpackhi_pd((__m128d)low.v, (__m128d)high.v)};
}
FASTNN_INLINE Both<float> interleave(Vec<float> a, Vec<float> b) {
  return {(Vec<float>::Native)_mm_unpacklo_ps((__m128)a.v, (__m128)b.v),
          (Vec<float>::Native)_mm_unpackhi_ps((__m128)a.v, (__m128)b.v)};
}
FASTNN_INLINE Both<double> interleave(Vec<double> a, Vec<double> b) { return deinterleave(a, b); }
#else
template <class T>
FASTNN_INLINE Both<T> deinterleave(Vec<T> low, Vec<T> high) {
  constexpr int N = Vec<T>::N;
  Both<T> r;
  for (int i = 0; i < N / 2; ++i) {
    r.a.v[i] = low[2 * i], r.a.v[N / 2 + i] = high[2 * i];
    r.b.v[i] = low[2 * i + 1], r.b.v[N / 2 + i] = high[2 * i + 1];
  }
  return r;
}
template <class T>
FASTNN_INLINE Both<T> interleave(Vec<T> a, Vec<T> b) {
  constexpr int N = Vec<T>::N;
  Both<T> r;
  for (int i = 0; i < N / 2; ++i) {
    r.a.v[2 * i] = a[i], r.a.v[2 * i + 1] = b[i];
    r.b.v[2 * i] = a[N / 2 + i], r.b.v[2 * i + 1] = b[N / 2 + i];
  }
  return r;
}
#endif

}  // namespace fastnn::FASTNN_ISA
