// The tree that float sums follow. Within a block of kPartialElements elements, element r is added to lane r
// mod L, L = 4 vectors: four accumulators hide the latency of the adder, and the error grows with
// kPartialElements / L. Lanes are combined i with i + L/2, i + L/4 ..., blocks pairwise.
#pragma once
#include "cpu/simd/cache.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

constexpr int kPartialElements = 1024;  // elements of one output behind one partial result
template <class T>
constexpr int kLanes = 4 * Vec<T>::N;

template <class T>
FASTNN_INLINE T sum_chunk(const T* x, int n) {
  using V = Vec<T>;
  V a[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
  int i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>)
    for (int j = 0; j < 4; ++j) {
      prefetch_ahead(x + i + j * V::N);
      a[j] = a[j] + V::load(x + i + j * V::N);
    }
  for (int j = 0; j < 4 && i < n; ++j, i += V::N)
    a[j] = a[j] + V::load_n(x + i, static_cast<int>(min_of(V::N, n - i)));
  return reduce_add((a[0] + a[2]) + (a[1] + a[3]));
}

// The sum of n dense elements, which are used up.
template <class T>
T sum_dense(T* x, int64_t n) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < n; i += kPartialElements)
    x[blocks++] = sum_chunk(x + i, static_cast<int>(n - i < kPartialElements ? n - i : kPartialElements));
  for (int64_t step = 1; step < blocks; step *= 2)
    for (int64_t b = 0; b + step < blocks; b += 2 * step) x[b] += x[b + step];
  return blocks == 0 ? T(0) : x[0];
}

}  // namespace fastnn::FASTNN_ISA
