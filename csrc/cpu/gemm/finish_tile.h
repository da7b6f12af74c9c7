// What becomes of a tile's accumulators: added to C, bias, activation, stored.
#pragma once
#include "cpu/gemm/tile.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {

// f(row, vector, x) for every vector of accumulators, in registers.
template <class T, int MR, int NV, class F>
FASTNN_INLINE void for_accumulators(Vec<T> (&acc)[MR][NV], F&& f) {
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) f(i, j, acc[i][j]);
}

// One branch per tile for each part of the epilogue, rather than one per row or vector.
template <class T, int MR, int NV>
FASTNN_INLINE void finish_tile(const Tile<T>& t, Vec<T> (&acc)[MR][NV], int last) {
  using V = Vec<T>;
  T* const c = t.c;
  const int64_t ldc = t.ldc;
  const auto load = [&](const T* p, int j) { return j < NV - 1 ? V::load(p) : V::load_n(p, last); };
  if (t.accumulate)
    for_accumulators(acc, [&](int i, int j, V& x) { x = load(c + i * ldc + j * V::N, j) + x; });
  if (const Epilogue<T>* const e = t.epilogue) {
    if (e->column_bias) {
      V bias[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) bias[j] = load(e->column_bias + j * V::N, j);
      for_accumulators(acc, [&](int, int j, V& x) { x = x + bias[j]; });
    }
    if (e->row_bias) for_accumulators(acc, [&](int i, int, V& x) { x = x + V(e->row_bias[i]); });
    if (e->relu) for_accumulators(acc, [&](int, int, V& x) { x = max(V(T(0)), x); });  // so NaN stays NaN
    const bool aligned = (reinterpret_cast<uintptr_t>(c) | ldc * sizeof(T)) % sizeof(V) == 0;
    if (e->stream && aligned && !t.accumulate && last == V::N) {
      for_accumulators(acc, [&](int i, int j, V& x) { stream_vector(x, c + i * ldc + j * V::N); });
      return;
    }
  }
  for_accumulators(acc, [&](int i, int j, V& x) {
    T* const to = c + i * ldc + j * V::N;
    j < NV - 1 ? x.store(to) : x.store_n(to, last);
  });
}

}  // namespace fastnn::FASTNN_ISA
