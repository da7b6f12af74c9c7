// Products whose k runs along memory in both operands (NT with few rows: a linear layer's forward on a small
// batch) and products with a vector. Nothing is packed: there would be too few rows to pay for it.
#pragma once
#include "gemm_tile.h"

namespace fastnn::FASTNN_ISA {

// Sums each of N vectors: lane i of the result is the sum of row i by a fixed tree, lane l + lane l + N/2 and
// so on.
template <class T, int half = Vec<T>::N / 2>
FASTNN_INLINE Vec<T> reduce_rows(Vec<T> (&row)[Vec<T>::N]) {
  if constexpr (half == 0) {
    return row[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i) {
      exchange<half>(row[i], row[i + half], typename LanesUpTo<Vec<T>::N>::type{});
      row[i] = row[i] + row[i + half];
    }
    return reduce_rows<T, half / 2>(row);
  }
}

// out[i * J + j] = sum over p of a[i * lda + p] * b[j * ldb + p]: vectors run along k, I * J accumulators.
template <class T, int I, int J>
void dot_tile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* out) {
  using V = Vec<T>;
  constexpr int N = V::N;
  V acc[I][J];
#pragma GCC unroll 8
  for (int i = 0; i < I; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) acc[i][j] = V(T(0));
  auto step = [&](auto load) __attribute__((always_inline)) {
    V x[I];
#pragma GCC unroll 8
    for (int i = 0; i < I; ++i) x[i] = load(a + i * lda);
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      const V y = load(b + j * ldb);
#pragma GCC unroll 8
      for (int i = 0; i < I; ++i) acc[i][j] = fma(x[i], y, acc[i][j]);
    }
  };
  int64_t p = k;
  for (; p >= N; p -= N, a += N, b += N) step([](const T* from) { return V::load(from); });
  if (p > 0) step([p](const T* from) { return V::load_n(from, static_cast<int>(p)); });
#pragma GCC unroll 16
  for (int first = 0; first < I * J; first += N) {
    V row[N];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) row[i] = first + i < I * J ? acc[(first + i) / J][(first + i) % J] : V(T(0));
    const V sums = reduce_rows(row);
    constexpr int rest = (I * J) % N;
    first + N <= I* J ? sums.store(out + first) : sums.store_n(out + first, rest);
  }
}

constexpr int kDotRows = kVectorBytes == 64 ? 4 : 2;
constexpr int kDotColumns = 4;
constexpr int kDotVectorRows =
    8;  // rows of the matrix at once when the other operand is a vector: as many streams

template <class T>
using DotFn = void (*)(int64_t, const T*, int64_t, const T*, int64_t, T*);
template <class T, int I, class = typename LanesUpTo < I == 1 ? kDotVectorRows : kDotColumns>
    ::type > struct DotTable;
template <class T, int I, int... j>
struct DotTable<T, I, Lanes<j...>> {
  static constexpr DotFn<T> columns[] = {dot_tile<T, I, j + 1>...};
};
template <class T, int I = 1>
FASTNN_INLINE DotFn<T> dot_function(int rows, int columns) {
  if constexpr (I < kDotRows)
    if (rows > I) return dot_function<T, I + 1>(rows, columns);
  return DotTable<T, I>::columns[columns - 1];
}

// y[j] += sum over r of x[r * stride] * b[r * ldb + j] for j < n and R rows of B; y has room for whole
// vectors.
template <class T, int R>
FASTNN_INLINE void add_rows(int64_t n, const T* x, int64_t stride, const T* b, int64_t ldb, T* y) {
  using V = Vec<T>;
  V factor[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) factor[r] = V(x[r * stride]);
  int64_t j = 0;
  for (; j + V::N <= n; j += V::N) {
    V sum = V::load(y + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum = fma(factor[r], V::load(b + r * ldb + j), sum);
    sum.store(y + j);
  }
  if (const int rest = static_cast<int>(n - j); rest > 0) {
    V sum = V::load(y + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum = fma(factor[r], V::load_n(b + r * ldb + j, rest), sum);
    sum.store(y + j);
  }
}

// The same for k rows: eight are streamed at a time while y stays in L1.
template <class T>
void add_rows(int64_t k, int64_t n, const T* x, int64_t stride, const T* b, int64_t ldb, T* y) {
  for (; k >= 8; k -= 8, x += 8 * stride, b += 8 * ldb) add_rows<T, 8>(n, x, stride, b, ldb, y);
  for (; k > 0; --k, x += stride, b += ldb) add_rows<T, 1>(n, x, stride, b, ldb, y);
}

}  // namespace fastnn::FASTNN_ISA
