// What becomes of a tile's accumulators: added to C, bias, activation, stored.
#pragma once
#include "cpu/gemm/tile.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {

template <class T, int MR, int NV>
FASTNN_INLINE void finish_tile(const Tile<T>& t, Vec<T> (&acc)[MR][NV], int last) {
  using V = Vec<T>;
  const Epilogue<T> none, &e = t.epilogue ? *t.epilogue : none;
  V bias[NV];
#pragma GCC unroll 8
  for (int j = 0; j < NV; ++j) {
    const int lanes = j < NV - 1 ? V::N : last;
    bias[j] = e.column_bias ? V::load_n(e.column_bias + j * V::N, lanes) : V(T(0));
  }
  const bool stream = e.stream && !t.accumulate && last == V::N &&
                      (reinterpret_cast<uintptr_t>(t.c) | t.ldc * sizeof(T)) % sizeof(V) == 0;
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {  // one branch per row rather than per vector
    T* c = t.c + i * t.ldc;
    V(&x)[NV] = acc[i];
    if (t.accumulate) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j)
        x[j] = (j < NV - 1 ? V::load(c + j * V::N) : V::load_n(c + j * V::N, last)) + x[j];
    }
    if (e.column_bias) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) x[j] = x[j] + bias[j];
    }
    if (e.row_bias) {
      const V row_bias(e.row_bias[i]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) x[j] = x[j] + row_bias;
    }
    if (e.relu) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) x[j] = max(V(T(0)), x[j]);  // in this order NaN stays NaN
    }
    if (stream) {
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) stream_vector(x[j], c + j * V::N);
      continue;
    }
#pragma GCC unroll 8
    for (int j = 0; j < NV - 1; ++j) x[j].store(c + j * V::N);
    x[NV - 1].store_n(c + (NV - 1) * V::N, last);
  }
}

}  // namespace fastnn::FASTNN_ISA
