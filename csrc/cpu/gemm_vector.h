// Products of which nothing can be reused: a vector with a matrix whose rows lie along memory, and two
// vectors.
#pragma once
#include "gemm_tile.h"

namespace fastnn::FASTNN_ISA {

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

}  // namespace fastnn::FASTNN_ISA
