// Products of a short k, which take as long as writing C: row after row of it, the elements of A in
// registers, the few rows of B in the cache.
#include "cpu/gemm/outer.h"

namespace fastnn::FASTNN_ISA {
namespace {

// R rows of C at c, from their elements of A at a; every element the chain that a tile would compute.
template <class T, int K, int R>
void outer_rows(const Product<T>& g, const T* a, T* c, const T* row_bias) {
  using V = Vec<T>;
  V factor[R][K];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < K; ++p) factor[r][p] = V(a[r * g.rs_a + p * g.cs_a]);
  const T *const b = g.b, *const column_bias = g.column_bias;
  const int64_t ldb = g.rs_b, ldc = g.ldc;
  const bool relu = g.relu;
  const auto columns = [&](int64_t j, auto load, auto store) __attribute__((always_inline)) {
    V sum[R];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) sum[r] = V(T(0));
#pragma GCC unroll 8
    for (int p = 0; p < K; ++p) {
      const V row = load(b + p * ldb + j);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) sum[r] = fma(factor[r][p], row, sum[r]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      if (column_bias) sum[r] = sum[r] + load(column_bias + j);
      if (row_bias) sum[r] = sum[r] + V(row_bias[r]);
      if (relu) sum[r] = max(V(T(0)), sum[r]);
      store(sum[r], c + r * ldc + j);
    }
  };
  int64_t j = 0;
  for (; j + V::N <= g.n; j += V::N)
    columns(j, [](const T* p) { return V::load(p); }, [](V x, T* p) { x.store(p); });
  const int rest = static_cast<int>(g.n - j);
  if (rest > 0)
    columns(j, [=](const T* p) { return V::load_n(p, rest); }, [=](V x, T* p) { x.store_n(p, rest); });
}

template <class T, int K>
void outer_of(const Product<T>& g, int64_t i0, int64_t i1) {
  constexpr int R = 2 * K + 4 <= kRegisters ? 2 : 1;
  const auto bias = [&](int64_t i) { return g.row_bias ? g.row_bias + i : nullptr; };
  int64_t i = i0;
  for (; i + R <= i1; i += R) outer_rows<T, K, R>(g, g.a + i * g.rs_a, g.c + i * g.ldc, bias(i));
  for (; i < i1; ++i) outer_rows<T, K, 1>(g, g.a + i * g.rs_a, g.c + i * g.ldc, bias(i));
}

}  // namespace

template <class T>
void outer_part(const Product<T>& g, int64_t i0, int64_t i1) {
  static_assert(kOuterDepth <= 6);
  constexpr void (*of[])(const Product<T>&, int64_t, int64_t) = {
      outer_of<T, 1>, outer_of<T, 2>, outer_of<T, 3>, outer_of<T, 4>, outer_of<T, 5>, outer_of<T, 6>};
  of[g.k - 1](g, i0, i1);
}
template void outer_part(const Product<float>& g, int64_t i0, int64_t i1);
template void outer_part(const Product<double>& g, int64_t i0, int64_t i1);

}  // namespace fastnn::FASTNN_ISA
