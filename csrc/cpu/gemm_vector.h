// Products of which nothing can be reused: a vector with a matrix, and two vectors.
//
// y = x B is summed in one of two ways, which the sizes decide. Where B fits a cache, in N lanes, N the
// elements of a vector: row p of B is added to lane p mod N, and lane l meets lane l + N/2, then l + N/4 and
// so on. Where B's columns lie along memory (y = W x) a lane is one of a register; where its rows do, an
// array. So both layouts give the same bits, and each reads B as it lies. A larger B is streamed from memory:
// there the rows are added one after the other, since an array for each lane would be read and written too
// often.
#pragma once
#include "gemm_plan.h"

namespace fastnn::FASTNN_ISA {

// y[j] += sum over r of x[r * stride] * b[r * ldb + j] for j < n and R rows of B; y has room for whole
// vectors. With `next`, rows at that distance are asked for.
template <class T, int R, bool ahead>
FASTNN_INLINE void add_rows(int64_t n, const T* x, int64_t stride, const T* b, int64_t ldb, int64_t next,
                            T* y) {
  using V = Vec<T>;
  V factor[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) factor[r] = V(x[r * stride]);
  int64_t j = 0;
  for (; j + V::N <= n; j += V::N) {
    V sum = V::load(y + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if constexpr (ahead) __builtin_prefetch(b + r * ldb + next + j);
      sum = fma(factor[r], V::load(b + r * ldb + j), sum);
    }
    sum.store(y + j);
  }
  if (const int rest = static_cast<int>(n - j); rest > 0) {
    V sum = V::load(y + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum = fma(factor[r], V::load_n(b + r * ldb + j, rest), sum);
    sum.store(y + j);
  }
}

// A vector of y from its sums: bias, activation, `lanes` elements of C.
template <class T>
FASTNN_INLINE void finish_vector(const Product<T>& g, int64_t j, Vec<T> y, int lanes) {
  using V = Vec<T>;
  if (g.column_bias) y = y + V::load_n(g.column_bias + j, lanes);
  if (g.row_bias) y = y + V(*g.row_bias);
  if (g.relu) y = max(V(T(0)), y);
  y.store_n(g.c + j, lanes);
}

// Elements [j0, j1) of y, B's rows lying along memory: eight rows are streamed at a time while a chunk of y
// stays in L1.
template <class T>
void stream_rows(const Product<T>& g, int64_t j0, int64_t j1) {
  using V = Vec<T>;
  constexpr int64_t kChunk = 4096 / sizeof(T);
  alignas(64) T y[kChunk];
  for (int64_t first = j0; first < j1; first += kChunk) {
    const int64_t n = min_of(kChunk, j1 - first);
    for (int64_t j = 0; j < n; j += V::N) V(T(0)).store(y + j);
    const T *x = g.a, *b = g.b + first;
    int64_t left = g.k;
    for (; left >= 8; left -= 8, x += 8 * g.cs_a, b += 8 * g.rs_b)
      add_rows<T, 8, false>(n, x, g.cs_a, b, g.rs_b, 0, y);
    for (; left > 0; --left, x += g.cs_a, b += g.rs_b) add_rows<T, 1, false>(n, x, 0, b, 0, 0, y);
    for (int64_t j = 0; j < n; j += V::N)
      finish_vector(g, first + j, V::load(y + j), static_cast<int>(min_of(V::N, n - j)));
  }
}

// The same in lanes: a chunk of y, in all lanes, stays in L1 while the rows
// pass by. Of kRows * N rows those of lane 0 go first, then their neighbours.
template <class T>
void add_in_lanes(const Product<T>& g, int64_t j0, int64_t j1) {
  using V = Vec<T>;
  constexpr int N = V::N, kRows = 4;
  constexpr int64_t kChunk = 16384 / N / sizeof(T);
  alignas(64) T lanes[N * kChunk];
  for (int64_t first = j0; first < j1; first += kChunk) {
    const int64_t n = min_of(kChunk, j1 - first), pitch = divide_up(n, N) * N;
    auto lane = [&](int l) { return lanes + l * pitch; };
    for (int l = 0; l < N; ++l)
      for (int64_t j = 0; j < n; j += N) V(T(0)).store(lane(l) + j);
    const T *x = g.a, *b = g.b + first;
    int64_t left = g.k;
    for (; left >= kRows * N; left -= kRows * N, x += kRows * N * g.cs_a, b += kRows * N * g.rs_b)
      for (int l = 0; l < N; ++l)
        add_rows<T, kRows, true>(n, x + l * g.cs_a, N * g.cs_a, b + l * g.rs_b, N * g.rs_b, g.rs_b, lane(l));
    for (int l = 0; left > 0; --left, ++l, x += g.cs_a, b += g.rs_b)
      add_rows<T, 1, true>(n, x, 0, b, 0, g.rs_b, lane(l % N));
    for (int half = N / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l)
        for (int64_t j = 0; j < n; j += N)
          (V::load(lane(l) + j) + V::load(lane(l + half) + j)).store(lane(l) + j);
    for (int64_t j = 0; j < n; j += N)
      finish_vector(g, first + j, V::load(lane(0) + j), static_cast<int>(min_of(N, n - j)));
  }
}

// Two vectors: four accumulators of N lanes, element p in lane p mod 4 N, summed by a fixed tree. Operands
// that do not lie along memory are gathered piece by piece, so that they give the same bits.
template <class T>
struct Dot {
  using V = Vec<T>;
  static constexpr int kPiece = 2048 / sizeof(T);
  V sum[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};

  void add(const T* a, const T* b, int64_t k) {  // k is a multiple of 4 N, but for the last piece
    int64_t p = 0;
    for (; p + 4 * V::N <= k; p += 4 * V::N)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = fma(V::load(a + p + i * V::N), V::load(b + p + i * V::N), sum[i]);
    for (int i = 0; p < k; ++i, p += V::N) {
      const int lanes = static_cast<int>(min_of(V::N, k - p));
      sum[i] = fma(V::load_n(a + p, lanes), V::load_n(b + p, lanes), sum[i]);
    }
  }
  T total() const { return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])); }
};

template <class T>
const T* gathered(const T* x, int64_t stride, int64_t n, T* piece) {
  if (stride == 1) return x;
  for (int64_t i = 0; i < n; ++i) piece[i] = x[i * stride];
  return piece;
}

template <class T>
T dot(const T* a, int64_t stride_a, const T* b, int64_t stride_b, int64_t k) {
  Dot<T> sum;
  T piece_a[Dot<T>::kPiece], piece_b[Dot<T>::kPiece];
  for (int64_t p = 0; p < k; p += Dot<T>::kPiece) {
    const int64_t n = min_of(Dot<T>::kPiece, k - p);
    sum.add(gathered(a + p * stride_a, stride_a, n, piece_a),
            gathered(b + p * stride_b, stride_b, n, piece_b), n);
  }
  return sum.total();
}

// sum[r] += x[p] * b[r * ldb + p] for R columns of B that lie along memory, p in lane p mod N. R streams, of
// which the processor follows none far: each is asked for ahead.
template <int R, class T>
FASTNN_INLINE void add_dots(const T* x, const T* b, int64_t ldb, int64_t k, Vec<T>* sum) {
  using V = Vec<T>;
  constexpr int64_t kAhead = kAheadBytes / R / static_cast<int64_t>(sizeof(T));
  V s[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) s[r] = sum[r];
  int64_t p = 0;
  for (; p + V::N <= k; p += V::N) {
    const V v = V::load(x + p);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      __builtin_prefetch(b + r * ldb + p + kAhead);
      s[r] = fma(v, V::load(b + r * ldb + p), s[r]);
    }
  }
  if (const int rest = static_cast<int>(k - p); rest > 0) {
    const V v = V::load_n(x + p, rest);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) s[r] = fma(v, V::load_n(b + r * ldb + p, rest), s[r]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum[r] = s[r];
}

// The lanes of each vector summed as reduce_add does: lane r is vector r's.
template <class T, int half = Vec<T>::N / 2>
FASTNN_INLINE Vec<T> sum_lanes(Vec<T>* sum) {
#pragma GCC unroll 16
  for (int r = 0; r < half; ++r) {
    exchange<half>(sum[r], sum[r + half], typename LanesUpTo<Vec<T>::N>::type{});
    sum[r] = sum[r] + sum[r + half];
  }
  if constexpr (half > 1) return sum_lanes<T, half / 2>(sum);
  return sum[0];
}

// Elements [j0, j1) of y, B's columns lying along memory, or nothing.
template <class T>
void dot_columns(const Product<T>& g, int64_t j0, int64_t j1) {
  using V = Vec<T>;
  constexpr int N = V::N;
  constexpr int64_t kPiece = Dot<T>::kPiece;
  T piece_a[kPiece], piece_b[kPiece];
  const bool in_place = g.cs_a == 1 && g.rs_b == 1;
  const int64_t step = in_place ? max_of(g.k, 1) : kPiece;
  for (int64_t j = j0; j < j1; j += N) {
    const int rows = static_cast<int>(min_of(N, j1 - j));
    V sum[N];
    for (V& s : sum) s = V(T(0));
    for (int64_t p = 0; p < g.k; p += step) {
      const int64_t k = min_of(step, g.k - p);
      const T* x = gathered(g.a + p * g.cs_a, g.cs_a, k, piece_a);
      auto column = [&](int r) { return g.b + p * g.rs_b + (j + r) * g.cs_b; };
      if (g.rs_b != 1) {
        for (int r = 0; r < rows; ++r) add_dots<1>(x, gathered(column(r), g.rs_b, k, piece_b), 0, k, sum + r);
      } else if (rows == N) {
        add_dots<N>(x, column(0), g.cs_b, k, sum);
      } else {
        int r = 0;
        if (N > 8 && rows & 8) add_dots<min_of(N, 8)>(x, column(r), g.cs_b, k, sum + r), r += 8;
        if (N > 4 && rows & 4) add_dots<min_of(N, 4)>(x, column(r), g.cs_b, k, sum + r), r += 4;
        if (N > 2 && rows & 2) add_dots<2>(x, column(r), g.cs_b, k, sum + r), r += 2;
        if (rows & 1) add_dots<1>(x, column(r), g.cs_b, k, sum + r);
      }
    }
    finish_vector(g, j, sum_lanes(sum), rows);
  }
}

}  // namespace fastnn::FASTNN_ISA
