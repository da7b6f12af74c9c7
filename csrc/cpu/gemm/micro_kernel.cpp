// The tile in registers: an instance for every number of rows and of vectors.
#include "cpu/gemm/finish_tile.h"

namespace fastnn::FASTNN_ISA {
namespace {

enum class Rows {
  whole,   // of B, in whole vectors
  masked,  // the last vector's lanes as far as C goes
  listed,  // in whole vectors, wherever they are
};

// MR rows, NV vectors of columns, of which the last has `last` lanes.
template <class T, int MR, int NV, Rows rows>
void run_tile(const Tile<T>& t, int last) {
  using V = Vec<T>;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[i][j] = V(T(0));
  const T *a = t.a, *b = t.b;
  const int64_t k = t.k, rs_a = t.rs_a, cs_a = t.cs_a, ldb = t.ldb;
  const auto multiply = [&](const T* column, const T* from, int64_t offset) {  // of A, and row of B
    V row[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      const T* const vector = from + offset + j * V::N;
      V x = rows == Rows::masked && j == NV - 1 ? V::load_n(vector, last) : V::load(vector);
      if constexpr (rows == Rows::listed) keep(x);
      row[j] = x;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x(column[i * rs_a]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
  };
  if constexpr (rows == Rows::listed)
    for (int64_t p = 0; p < k; ++p) multiply(a + p, b, t.b_rows[p]);
  else
    for (int64_t p = k; p > 0; --p, a += cs_a, b += ldb) multiply(a, b, 0);
  finish_tile<T, MR, NV>(t, acc, last);
}

template <class T>
using TileFn = void (*)(const Tile<T>&, int last);

// The instances for NV vectors: [rows - 1].
template <class T, int NV, Rows rows, class = typename LanesUpTo<max_rows(NV)>::type>
struct TileTable;
template <class T, int NV, Rows rows, int... i>
struct TileTable<T, NV, rows, Lanes<i...>> {
  static constexpr TileFn<T> tiles[] = {run_tile<T, tile_height<T>(i + 1, max_rows(NV)), NV, rows>...};
};

// Where B is read under a mask, float64 has its last vector apart, by tiles of one vector.
template <class T, int NV>
constexpr bool kMasked = NV == 1 || kEveryHeight<T>;

template <class T, int NV = 1>
FASTNN_INLINE void choose_tile(const Tile<T>& t, int m, int n) {
  const int last = n - (NV - 1) * Vec<T>::N;
  if (NV == kMaxVectors || last <= Vec<T>::N) {
    const TileFn<T>* tiles = TileTable<T, NV, Rows::whole>::tiles;
    if (t.b_rows) tiles = TileTable<T, NV, Rows::listed>::tiles;
    if constexpr (kMasked<T, NV>)
      if (!t.b_rows && !t.packed_b && last < Vec<T>::N) tiles = TileTable<T, NV, Rows::masked>::tiles;
    for_heights(t, m, max_rows(NV), [&](const Tile<T>& part, int height) { tiles[height - 1](part, last); });
  } else if constexpr (NV < kMaxVectors) {
    choose_tile<T, NV + 1>(t, m, n);
  }
}

}  // namespace

template <class T>
void micro_kernel(const Tile<T>& t, int m, int n) {
  const int whole = n - n % Vec<T>::N;
  if (kEveryHeight<T> || t.b_rows || t.packed_b || whole == 0 || whole == n) return choose_tile(t, m, n);
  choose_tile(t, m, whole);
  Tile<T> rest = t;
  rest.b += whole, rest.c += whole;
  Epilogue<T> epilogue;
  if (t.epilogue) epilogue = *t.epilogue, rest.epilogue = &epilogue;
  if (epilogue.column_bias) epilogue.column_bias += whole;
  choose_tile(rest, m, n - whole);
}
template void micro_kernel(const Tile<float>& t, int m, int n);
template void micro_kernel(const Tile<double>& t, int m, int n);

}  // namespace fastnn::FASTNN_ISA
