// Loads that convolution needs: the part of a row that lies in the image, and every second element of one.
#pragma once
#include "gemm_pack.h"

namespace fastnn::FASTNN_ISA {

template <class T, int... l>
FASTNN_INLINE Vec<T> every_second(Vec<T> a, Vec<T> b, Lanes<l...>) {
#if defined(__clang__)
  return Vec<T>(__builtin_shufflevector(a.v, b.v, (2 * l)...));
#else
  return Vec<T>(__builtin_shuffle(a.v, b.v, typename native<Int<T> >::type{(2 * l)...}));
#endif
}

constexpr int clamp_lane(int64_t lane, int most) {
  return lane < 0 ? 0 : lane > most ? most : static_cast<int>(lane);
}

// Lanes [low, high) of p, zero in the others, of which nothing is read; bounds outside the vector are cut to
// it.
template <class T>
FASTNN_INLINE Vec<T> load_between(const T* p, int64_t low, int64_t high) {
  using V = Vec<T>;
  const int lo = clamp_lane(low, V::N), hi = clamp_lane(high, V::N);
#if defined(__AVX512F__)
  const unsigned mask = ((1u << hi) - 1) & ~((1u << lo) - 1);
  if constexpr (sizeof(T) == 4)
    return V((typename V::Native)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p));
  else
    return V((typename V::Native)_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return V((typename V::Native)_mm256_maskload_ps(p, _mm256_andnot_si256(lanes32(lo), lanes32(hi))));
  else
    return V((typename V::Native)_mm256_maskload_pd(p, _mm256_andnot_si256(lanes64(lo), lanes64(hi))));
#else
  if (lo == 0 && hi == V::N) return V::load(p);
  T lane[V::N] = {};
  for (int l = lo; l < hi; ++l) lane[l] = p[l];
  return V::load(lane);
#endif
}

// N elements of p, `step` (kStep where it is known) apart: those at offsets [low, high), zero in place of the
// others.
template <class T, int kStep>
FASTNN_INLINE Vec<T> load_strided(const T* p, int64_t low, int64_t high, int64_t step) {
  using V = Vec<T>;
  if constexpr (kStep == 1) {
    return load_between(p, low, high);
  } else if constexpr (kStep == 2) {
    return every_second(load_between(p, low, high), load_between(p + V::N, low - V::N, high - V::N),
                        typename LanesUpTo<V::N>::type{});
  } else {
    T lane[V::N] = {};
    for (int64_t l = 0, at = 0; l < V::N && at < high; ++l, at += step)
      if (at >= low) lane[l] = p[at];
    return V::load(lane);
  }
}

}  // namespace fastnn::FASTNN_ISA
