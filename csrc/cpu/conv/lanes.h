// Loads that convolution needs: the part of a row that lies in the image, and every second element of one.
#pragma once
#include "cpu/gemm/pack.h"

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

// N elements, kStep apart: those at offsets [low, high) from the first, zero in place of the others. A kStep
// of 0 stands for any.
template <class T, int kStep>
struct StridedPart {
  Part<T> first, second;
  int64_t low, high, step;

  StridedPart() = default;
  FASTNN_INLINE StridedPart(int64_t low, int64_t high, int64_t step)
      : first(part_of<T>(low, high)),
        second(part_of<T>(low - Vec<T>::N, high - Vec<T>::N)),
        low(low),
        high(high),
        step(step) {}

  FASTNN_INLINE Vec<T> load(const T* p) const {
    if constexpr (kStep == 1) {
      return load_part(p, first);
    } else if constexpr (kStep == 2) {
      return every_second(load_part(p, first), load_part(p + Vec<T>::N, second),
                          typename LanesUpTo<Vec<T>::N>::type{});
    } else {
      typename Vec<T>::Native lane = {};
      for (int64_t l = 0, at = 0; l < Vec<T>::N && at < high; ++l, at += step)
        if (at >= low) lane[l] = p[at];
      return Vec<T>(lane);
    }
  }
};

}  // namespace fastnn::FASTNN_ISA
