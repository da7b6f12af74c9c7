// Products of which nothing can be reused: a vector with a matrix, and two vectors.
//
// y = x B is summed in one of two ways, which the sizes decide. Where B fits a cache, in kLanes lanes: row p
// of B is added to lane p mod kLanes, and add_lanes() says in which order the lanes meet. Where B's columns
// lie along memory (y = W x) the lanes are two registers; where its rows do, arrays. So both layouts give the
// same bits, and each reads B as it lies. A larger B is streamed from memory: there the rows are added one
// after the other, since an array for each lane would be read and written too often.
#include "cpu/gemm/vector.h"

#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

template <class T>
constexpr int kLanes = 2 * Vec<T>::N;

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

// Rows 0, distance, 2 distance, ... of B, `rows` in all, each R of them one lane's: `distance` lanes.
template <int R, class T, class Lane>
FASTNN_INLINE void add_to_lanes(int64_t n, const T* x, int64_t stride, const T* b, int64_t ldb, Lane lane) {
  constexpr int L = kLanes<T>;
  for (int l = 0; l < L; ++l)
    add_rows<T, R, true>(n, x + l * stride, L * stride, b + l * ldb, L * ldb, ldb, lane(l));
}

// The same in lanes: a chunk of y, in all lanes, stays in L1 while the rows pass by. Of R * kLanes rows those
// of lane 0 go first, then their neighbours.
template <class T>
void add_in_lanes(const Product<T>& g, int64_t j0, int64_t j1) {
  using V = Vec<T>;
  constexpr int N = V::N, L = kLanes<T>;
  constexpr int64_t kChunk = 32768 / L / sizeof(T);
  alignas(64) T lanes[L * kChunk];
  for (int64_t first = j0; first < j1; first += kChunk) {
    const int64_t n = min_of(kChunk, j1 - first), pitch = ceil_div(n, N) * N;
    auto lane = [&](int l) { return lanes + l * pitch; };
    for (int64_t j = 0; j < L * pitch; j += N) V(T(0)).store(lanes + j);
    const T *x = g.a, *b = g.b + first;
    int64_t p = 0;
    for (; g.k - p >= 4 * L; p += 4 * L)
      add_to_lanes<4>(n, x + p * g.cs_a, g.cs_a, b + p * g.rs_b, g.rs_b, lane);
    if (g.k - p >= 2 * L) {
      add_to_lanes<2>(n, x + p * g.cs_a, g.cs_a, b + p * g.rs_b, g.rs_b, lane);
      p += 2 * L;
    }
    for (int l = 0; p < g.k; ++p, ++l)
      add_rows<T, 1, true>(n, x + p * g.cs_a, 0, b + p * g.rs_b, 0, g.rs_b, lane(l % L));
    for (int64_t j = 0; j < n; j += N) {
      V sum[N];
      for (int l = 0; l < N; ++l) sum[l] = V::load(lane(l) + j) + V::load(lane(l + N) + j);
      for (int half = N / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) sum[l] = sum[l] + sum[l + half];
      finish_vector(g, first + j, sum[0], static_cast<int>(min_of(N, n - j)));
    }
  }
}

// Two vectors in kLanes lanes: two accumulators. Operands that do not lie along memory are gathered piece by
// piece, so that they give the same bits.
template <class T>
struct Dot {
  using V = Vec<T>;
  static constexpr int kPiece = 2048 / sizeof(T);
  V even = V(T(0)), odd = V(T(0));

  // k is a multiple of 2 N, but for the last piece.
  FASTNN_INLINE void add(const T* a, const T* b, int64_t k) {
    int64_t p = 0;
    for (; p + 2 * V::N <= k; p += 2 * V::N) {
      even = fma(V::load(a + p), V::load(b + p), even);
      odd = fma(V::load(a + p + V::N), V::load(b + p + V::N), odd);
    }
    const int rest = static_cast<int>(k - p);
    if (rest > 0)
      even = fma(V::load_n(a + p, min_of(V::N, rest)), V::load_n(b + p, min_of(V::N, rest)), even);
    if (rest > V::N)
      odd = fma(V::load_n(a + p + V::N, rest - V::N), V::load_n(b + p + V::N, rest - V::N), odd);
  }
  FASTNN_INLINE V lanes() const { return even + odd; }
};

template <class T>
const T* gathered(const T* x, int64_t stride, int64_t n, T* piece) {
  if (stride == 1) return x;
  for (int64_t i = 0; i < n; ++i) piece[i] = x[i * stride];
  return piece;
}

template <class T>
void add_strided_dots(const Product<T>& g, int64_t j, int columns, Vec<T> (&sum)[Vec<T>::N]) {
  constexpr int64_t kPiece = Dot<T>::kPiece;
  T piece_a[kPiece], piece_b[kPiece];
  Dot<T> dots[Vec<T>::N];
  for (int64_t p = 0; p < g.k; p += kPiece) {
    const int64_t k = min_of(kPiece, g.k - p);
    const T* x = gathered(g.a + p * g.cs_a, g.cs_a, k, piece_a);
    for (int r = 0; r < columns; ++r)
      dots[r].add(x, gathered(g.b + p * g.rs_b + (j + r) * g.cs_b, g.rs_b, k, piece_b), k);
  }
  for (int r = 0; r < columns; ++r) sum[r] = dots[r].lanes();
}

// Elements [j0, j1) of y, B's columns lying along memory, or nothing. One column after the other, so that B
// is read front to back: from L2 that is nearly twice as fast as two columns or more side by side.
template <class T>
void dot_columns(const Product<T>& g, int64_t j0, int64_t j1) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const bool in_place = g.cs_a == 1 && g.rs_b == 1;
  for (int64_t j = j0; j < j1; j += N) {
    const int columns = static_cast<int>(min_of(N, j1 - j));
    V sum[N];
    for (V& s : sum) s = V(T(0));
    if (!in_place) add_strided_dots(g, j, columns, sum);
    for (int r = 0; in_place && r < columns; ++r) {
      Dot<T> dot;
      dot.add(g.a, g.b + (j + r) * g.cs_b, g.k);
      sum[r] = dot.lanes();
    }
    finish_vector(g, j, columns == 1 ? V(reduce_add(sum[0])) : add_lanes(sum), columns);
  }
}

}  // namespace

template <class T>
void vector_part(const Product<T>& g, Path path, int64_t j0, int64_t j1) {
  if (path == Path::stream) stream_rows(g, j0, j1);
  if (path == Path::lanes) add_in_lanes(g, j0, j1);
  if (path == Path::dots) dot_columns(g, j0, j1);
}
template void vector_part(const Product<float>& g, Path path, int64_t j0, int64_t j1);
template void vector_part(const Product<double>& g, Path path, int64_t j0, int64_t j1);

}  // namespace fastnn::FASTNN_ISA
