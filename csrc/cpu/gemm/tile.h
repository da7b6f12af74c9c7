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
  int64_t ldb = 0;
  const int32_t* b_rows = nullptr;  // where row p of B is at b + b_rows[p] (and cs_a is 1), else null
  bool packed_b = false;            // rows of B may be read in whole vectors beyond column n
  T* c;
  int64_t ldc;
  bool accumulate = false;                // C += A B instead of C = A B
  const Epilogue<T>* epilogue = nullptr;  // null before the last block of k
};

// Calls f(part, height) for the parts of a tile of m rows whose heights there are.
template <class T, class F>
FASTNN_INLINE void for_heights(const Tile<T>& t, int m, int most, F&& f) {
  if constexpr (kEveryHeight<T>) {
    f(t, m);
  } else {
    Epilogue<T> epilogue;
    Tile<T> part = t;
    if (t.epilogue) epilogue = *t.epilogue, part.epilogue = &epilogue;
    for (int height; m > 0; m -= height) {
      height = tile_height<T>(m, most);
      f(part, height);
      part.a += height * t.rs_a;
      part.c += height * t.ldc;
      if (epilogue.row_bias) epilogue.row_bias += height;
    }
  }
}

// One tile of m x n: 1 <= n <= NR and 1 <= m <= max_rows(vectors of n). k = 0 leaves act(bias).
template <class T>
void micro_kernel(const Tile<T>& t, int m, int n);

// The same for a B that runs along k, column j at b + j * ldb: m <= kTransposedRows, n <= N.
template <class T>
void micro_kernel_transposed(const Tile<T>& t, int m, int n);

}  // namespace fastnn::FASTNN_ISA
