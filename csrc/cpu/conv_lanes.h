// Loads and permutations of vectors that convolution needs: parts of a row, every second element of one, and
// the transpose of a block.
#pragma once
#include "simd.h"

namespace fastnn::FASTNN_ISA {

// Lane l of the result is element Pick::at(l) of a and b side by side; the choice is a constant of the
// instruction.
template <class Pick, class T, int... L>
FASTNN_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, Lanes<L...>) {
#if defined(__clang__)
  return Vec<T>(__builtin_shufflevector(a.v, b.v, Pick::at(L)...));
#else
  return Vec<T>(__builtin_shuffle(a.v, b.v, typename native<Int<T>>::type{Pick::at(L)...}));
#endif
}
template <class Pick, class T>
FASTNN_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b) {
  return shuffle<Pick>(a, b, typename LanesUpTo<Vec<T>::N>::type{});
}

struct EverySecond {
  static constexpr int at(int lane) { return 2 * lane; }
};

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
    return shuffle<EverySecond>(load_between(p, low, high), load_between(p + V::N, low - V::N, high - V::N));
  } else {
    T lane[V::N] = {};
    for (int64_t l = 0, at = 0; l < V::N && at < high; ++l, at += step)
      if (at >= low) lane[l] = p[at];
    return V::load(lane);
  }
}

// One butterfly of a transpose: exchanges the off-diagonal D x D blocks of each 2D x 2D block.
template <int N, int D>
struct TakeLow {
  static constexpr int at(int lane) { return lane & D ? N + lane - D : lane; }
};
template <int N, int D>
struct TakeHigh {
  static constexpr int at(int lane) { return lane & D ? N + lane : lane + D; }
};
template <int D, class T>
FASTNN_INLINE void transpose_step(Vec<T>* row) {
  constexpr int N = Vec<T>::N;
#pragma GCC unroll 16
  for (int i = 0; i < N; ++i) {
    if (i & D) continue;
    const Vec<T> a = row[i], b = row[i + D];
    row[i] = shuffle<TakeLow<N, D>>(a, b);
    row[i + D] = shuffle<TakeHigh<N, D>>(a, b);
  }
  if constexpr (2 * D < N) transpose_step<2 * D>(row);
}

// out (n x m, rows of ldo) = the transpose of in (m x n, rows of ldi). Lanes m .. N of the last vector in a
// row of out become zero where there is room: out has `width` columns, a whole number of vectors.
template <class T>
void transpose(T* out, int64_t ldo, const T* in, int64_t ldi, int64_t m, int64_t n, int64_t width) {
  using V = Vec<T>;
  for (int64_t i0 = 0; i0 < width; i0 += V::N)
    for (int64_t j0 = 0; j0 < n; j0 += V::N) {
      const int cols = n - j0 < V::N ? static_cast<int>(n - j0) : V::N;
      V row[V::N];
#pragma GCC unroll 16
      for (int i = 0; i < V::N; ++i) {
        const T* from = in + (i0 + i) * ldi + j0;
        row[i] = i0 + i >= m ? V(T(0)) : cols == V::N ? V::load(from) : V::load_n(from, cols);
      }
      transpose_step<1>(row);
#pragma GCC unroll 16
      for (int j = 0; j < V::N; ++j)
        if (j < cols) row[j].store(out + (j0 + j) * ldo + i0);
    }
}

}  // namespace fastnn::FASTNN_ISA
