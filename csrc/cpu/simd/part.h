// Some neighbouring lanes of a vector.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// ---- the first n lanes: vectors that are whole are moved without a mask

template <class T>
FASTNN_INLINE Vec<T> load_some(const T* p, int n) {
  return n == Vec<T>::N ? Vec<T>::load(p) : Vec<T>::load_n(p, n);
}
template <class T>
FASTNN_INLINE void store_some(Vec<T> v, T* p, int n) {
  n == Vec<T>::N ? v.store(p) : v.store_n(p, n);
}
// v in the first n lanes, `other` in the rest.
template <class T>
FASTNN_INLINE Vec<T> first_lanes(Vec<T> v, int n, T other = T(0)) {
  return n == Vec<T>::N ? v : select(iota<Int<T>>() < Mask<T>(static_cast<Int<T>>(n)), v, Vec<T>(other));
}

// ---- lanes of the middle

constexpr int clamp_lane(int64_t lane, int most) {
  return lane < 0 ? 0 : lane > most ? most : static_cast<int>(lane);
}

// Some neighbouring lanes of a vector, in the form that the instruction set loads them by.
template <class T>
struct Part {
#if defined(__AVX512F__)
  unsigned mask;
#elif defined(__AVX2__)
  __m256i mask;
#else
  int low, high;
#endif
};

// Lanes [low, high); bounds outside the vector are cut to it.
template <class T>
FASTNN_INLINE Part<T> part_of(int64_t low, int64_t high) {
  const int lo = clamp_lane(low, Vec<T>::N), hi = clamp_lane(high, Vec<T>::N);
#if defined(__AVX512F__)
  return {((1u << hi) - 1) & ~((1u << lo) - 1)};
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return {_mm256_andnot_si256(lanes32(lo), lanes32(hi))};
  else
    return {_mm256_andnot_si256(lanes64(lo), lanes64(hi))};
#else
  return {lo, hi};
#endif
}

// That part of the vector at p, zero in the other lanes, of which nothing is read. Whole vectors are loaded
// without a mask: a masked load that misses the cache was measured to wait several times as long.
template <class T>
FASTNN_INLINE Vec<T> load_part(const T* p, Part<T> part) {
  using V = Vec<T>;
  using Native = typename V::Native;
#if defined(__AVX512F__)
  if (part.mask == (1u << V::N) - 1) return V::load(p);
  if constexpr (sizeof(T) == 4)
    return V((Native)_mm512_maskz_loadu_ps(static_cast<__mmask16>(part.mask), p));
  else
    return V((Native)_mm512_maskz_loadu_pd(static_cast<__mmask8>(part.mask), p));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return V((Native)_mm256_maskload_ps(p, part.mask));
  else
    return V((Native)_mm256_maskload_pd(p, part.mask));
#else
  if (part.low == 0 && part.high == V::N) return V::load(p);
  Native lane = {};
  for (int l = part.low; l < part.high; ++l) lane[l] = p[l];
  return V(lane);
#endif
}

}  // namespace fastnn::FASTNN_ISA
