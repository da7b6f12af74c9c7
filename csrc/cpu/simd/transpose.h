// Square blocks transposed in registers, a row a vector.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// Two rows of a block that is being transposed exchange the halves of each group of 2 * half lanes that lie
// off the diagonal: lane l of the upper row takes lane l - half of the lower one where bit `half` of l is
// set, and the reverse.
template <int half, class T, int... l>
FASTNN_INLINE void exchange(Vec<T>& upper, Vec<T>& lower, Lanes<l...>) {
  constexpr int N = Vec<T>::N;
  const Vec<T> a = upper, b = lower;
  upper = shuffle(a, b, Lanes<((l & half) ? N + l - half : l)...>{});
  lower = shuffle(a, b, Lanes<((l & half) ? N + l : l + half)...>{});
}

template <class T, int half = Vec<T>::N / 2>
FASTNN_INLINE void transpose(Vec<T> (&row)[Vec<T>::N]) {
  constexpr int N = Vec<T>::N;
#pragma GCC unroll 16
  for (int i = 0; i < N; ++i)
    if (!(i & half)) exchange<half>(row[i], row[i + half], typename LanesUpTo<N>::type{});
  if constexpr (half > 1) transpose<T, half / 2>(row);
}

// Row p of the block holds lanes' elements p: `depth` elements of each of `lanes` vectors, which lie `stride`
// apart.
template <class T>
FASTNN_INLINE void load_transposed(Vec<T> (&row)[Vec<T>::N], const T* x, int64_t stride, int lanes,
                                   int depth) {
  using V = Vec<T>;
  if (lanes == V::N && depth == V::N) {
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) row[i] = V::load(x + i * stride);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) row[i] = i < lanes ? V::load_n(x + i * stride, depth) : V(T(0));
  }
  transpose(row);
}

// The reverse, for `depth` elements of each of `lanes` vectors; nothing beyond them is written.
template <class T>
FASTNN_INLINE void store_transposed(Vec<T> (&row)[Vec<T>::N], T* x, int64_t stride, int lanes, int depth) {
  using V = Vec<T>;
  transpose(row);
  if (lanes == V::N && depth == V::N) {
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) row[i].store(x + i * stride);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i)
      if (i < lanes) row[i].store_n(x + i * stride, depth);
  }
}

// Lane i of the result is the sum of row[i]'s lanes, in the order of reduce_add. Rows i and i + half are
// folded into one whose lanes still say which of the two they came from.
template <class T, int half = Vec<T>::N / 2>
FASTNN_INLINE Vec<T> add_lanes(Vec<T> (&row)[Vec<T>::N]) {
#pragma GCC unroll 16
  for (int i = 0; i < half; ++i) {
    exchange<half>(row[i], row[i + half], typename LanesUpTo<Vec<T>::N>::type{});
    row[i] = row[i] + row[i + half];
  }
  if constexpr (half > 1)
    return add_lanes<T, half / 2>(row);
  else
    return row[0];
}

}  // namespace fastnn::FASTNN_ISA
