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

// y[j] += sum over p of x[p * stride] * b[p * ldb + j] for j < n: rows of B are streamed eight at a time
// while y stays in L1.
template <class T>
void add_rows(int64_t k, int64_t n, const T* x, int64_t stride, const T* b, int64_t ldb, T* y) {
  using V = Vec<T>;
  auto rows = [&](auto count) __attribute__((always_inline)) {
    constexpr int R = count;
    V factor[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) factor[r] = V(x[r * stride]);
    auto step = [&](int64_t j, auto load, auto store) __attribute__((always_inline)) {
      V sum = load(y + j);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum = fma(factor[r], load(b + r * ldb + j), sum);
      store(sum, y + j);
    };
    int64_t j = 0;
    for (; j + V::N <= n; j += V::N)
      step(j, [](const T* from) { return V::load(from); }, [](V v, T* to) { v.store(to); });
    const int rest = static_cast<int>(n - j);
    if (rest > 0)
      step(j, [=](const T* from) { return V::load_n(from, rest); }, [=](V v, T* to) { v.store_n(to, rest); });
    x += R * stride;
    b += R * ldb;
  };
  struct Eight {
    constexpr operator int() const { return 8; }
  };
  struct One {
    constexpr operator int() const { return 1; }
  };
  for (; k >= 8; k -= 8) rows(Eight{});
  for (; k > 0; --k) rows(One{});
}

}  // namespace fastnn::FASTNN_ISA
