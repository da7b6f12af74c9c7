// The micro-kernel of the matrix product and the packing around it: C (m x n, row-major) = act([C +] A B +
// bias) for one tile of at most MR rows and NV vectors of columns, all of it in registers while the loop runs
// over k.
//
//   A (m x k): element (i, p) at a[i * rs_a + p * cs_a], read by broadcast. Any strides will do; a packed
//              panel holds the rows of one p side by side: rs_a = 1, cs_a = rows of the panel.
//   B (k x n): row p at b + p * ldb, columns side by side, read as vectors. A packed panel is 64-byte
//              aligned, ldb = NR, its rows zero-padded to whole vectors; an unpacked B is read under a mask
//              in the last vector.
//
// Every element of C is one chain of multiply-adds in order of p, so tile shape, packing and masks do not
// change its bits; only where k is cut into blocks does. Convolution packs its own panels of B, straight from
// the image.
#pragma once
#include "backend/params.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/pack.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct Epilogue {                  // what follows the last block of k
  const T* column_bias = nullptr;  // one element per column of the tile, or null
  const T* row_bias = nullptr;     // one per row, or null
  bool relu = false;
  bool stream = false;  // C goes past the caches, if aligned to vectors and written once
};

template <class T>
struct Tile {
  int64_t k;
  const T* a;
  int64_t rs_a, cs_a;
  const T* b;
  int64_t ldb;
  bool packed_b;  // rows of B may be read in whole vectors beyond column n
  T* c;
  int64_t ldc;
  bool accumulate;              // C += A B instead of C = A B
  const Epilogue<T>* epilogue;  // null before the last block of k
};

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

// MR rows, NV vectors of columns, of which the last has `last` lanes.
template <class T, int MR, int NV, bool masked>
void run_tile(const Tile<T>& t, int last) {
  using V = Vec<T>;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[i][j] = V(T(0));
  const T *a = t.a, *b = t.b;
  const int64_t rs_a = t.rs_a, cs_a = t.cs_a, ldb = t.ldb;
  for (int64_t p = t.k; p > 0; --p) {
    V row[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j)
      row[j] = masked && j == NV - 1 ? V::load_n(b + j * V::N, last) : V::load(b + j * V::N);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x(a[i * rs_a]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
    a += cs_a;
    b += ldb;
  }
  finish_tile<T, MR, NV>(t, acc, last);
}

// MR rows against up to N columns of a B that runs along k: column j at b + j * ldb. Square blocks of B are
// transposed in registers on their way, which few rows cannot pay for as packing.
template <class T, int MR>
void run_tile_transposed(const Tile<T>& t, int lanes) {
  using V = Vec<T>;
  V acc[MR][1];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) acc[i][0] = V(T(0));
  const T *a = t.a, *b = t.b;
  const int64_t rs_a = t.rs_a, cs_a = t.cs_a;
  for (int64_t p = t.k; p > 0; p -= V::N, a += V::N * cs_a, b += V::N) {
    const int depth = static_cast<int>(min_of(V::N, p));
    // N streams are more than the hardware follows, so what is 16 blocks ahead is asked for here; beyond B
    // that does nothing.
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) __builtin_prefetch(b + i * t.ldb + 16 * V::N);
    V row[V::N];
    load_transposed(row, b, t.ldb, lanes, depth);
#pragma GCC unroll 16
    for (int q = 0; q < V::N; ++q) {
      if (q >= depth) break;
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) acc[i][0] = fma(V(a[i * rs_a + q * cs_a]), row[q], acc[i][0]);
    }
  }
  finish_tile<T, MR, 1>(t, acc, lanes);
}

// The instances for NV vectors: [rows - 1], and those that read B under a mask.
template <class T>
using TileFn = void (*)(const Tile<T>&, int last);
template <class T, int NV, bool masked, class = typename LanesUpTo<max_rows(NV)>::type>
struct TileTable;
template <class T, int NV, bool masked, int... i>
struct TileTable<T, NV, masked, Lanes<i...>> {
  static constexpr TileFn<T> rows[] = {run_tile<T, i + 1, NV, masked>...};
};

template <class T, class = typename LanesUpTo<kTransposedRows>::type>
struct TransposedTable;
template <class T, int... i>
struct TransposedTable<T, Lanes<i...>> {
  static constexpr TileFn<T> rows[] = {run_tile_transposed<T, i + 1>...};
};

// One tile of m x n: 1 <= n <= NR and 1 <= m <= max_rows(vectors of n). k = 0 leaves act(bias).
template <class T, int NV = 1>
FASTNN_INLINE void micro_kernel(const Tile<T>& t, int m, int n) {
  const int last = n - (NV - 1) * Vec<T>::N;
  if (NV == kMaxVectors || last <= Vec<T>::N) {
    const bool whole = t.packed_b || last == Vec<T>::N;
    (whole ? TileTable<T, NV, false>::rows : TileTable<T, NV, true>::rows)[m - 1](t, last);
  } else if constexpr (NV < kMaxVectors) {
    micro_kernel<T, NV + 1>(t, m, n);
  }
}

// The same for B transposed: m <= kTransposedRows, n <= N.
template <class T>
FASTNN_INLINE void micro_kernel_transposed(const Tile<T>& t, int m, int n) {
  TransposedTable<T>::rows[m - 1](t, n);
}

// Rows per tile that cut m evenly: 20 rows by tiles of at most 6 become 5 5 5 5, not 6 6 6 2.
constexpr int even_rows(int64_t m, int64_t most) {
  return m <= 0 ? 1 : static_cast<int>(ceil_div(m, ceil_div(m, most)));
}

}  // namespace fastnn::FASTNN_ISA
