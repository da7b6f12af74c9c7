// The tile in registers for few rows against a B that runs along k.
#include "cpu/gemm/finish_tile.h"
#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

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

template <class T>
using TileFn = void (*)(const Tile<T>&, int lanes);

template <class T, class = typename LanesUpTo<kTransposedRows>::type>
struct TransposedTable;
template <class T, int... i>
struct TransposedTable<T, Lanes<i...>> {
  static constexpr TileFn<T> tiles[] = {run_tile_transposed<T, tile_height<T>(i + 1, kTransposedRows)>...};
};

}  // namespace

template <class T>
void micro_kernel_transposed(const Tile<T>& t, int m, int n) {
  for_heights(t, m, kTransposedRows,
              [&](const Tile<T>& part, int height) { TransposedTable<T>::tiles[height - 1](part, n); });
}
template void micro_kernel_transposed(const Tile<float>& t, int m, int n);
template void micro_kernel_transposed(const Tile<double>& t, int m, int n);

}  // namespace fastnn::FASTNN_ISA
