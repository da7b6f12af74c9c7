// Mean and variance of many elements, and the sums that their gradients need: chunk by chunk, each small
// enough for the first-level cache, whose results are brought together in order.
//
// A chunk is read twice, the second time from the cache: first its mean, then the squares of the distances
// from it, which is exact whatever the mean's size. Chunks meet as in Chan, Golub and LeVeque, "Updating
// formulae and a pairwise algorithm for computing sample variances" (1979), in double.
#pragma once
#include "backend/context.h"
#include "backend/integers.h"
#include "cpu/simd/math.h"
#include "cpu/simd/part.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kChunk = 4096;           // elements, about
constexpr double kNsPerNormalized = 0.25;  // element of float, each way
constexpr double kNsPerStatistics = 40;    // of one mean and deviation

// `runs` runs of `length` contiguous elements, `stride` apart, the first at `first`. What lies `ahead` of
// them is read next: asked for meanwhile, it keeps the memory busy while a chunk is read again from the
// cache, and across the gaps between runs, where the processor's own prediction starts anew.
struct Chunk {
  int64_t first, length, runs, stride, ahead;
};

// The elements of channel k of (n, c, inner): n runs, cut into chunks that depend on the shape alone. The
// rows of a matrix are the channels of (1, rows, size).
struct Channels {
  int64_t n, c, inner;
  int64_t piece;   // elements of a run that a chunk has at most
  int64_t images;  // runs that a chunk has at most; 1 where a run is cut
  int64_t pieces, chunks;

  Channels(int64_t n, int64_t c, int64_t inner) : n(n), c(c), inner(inner) {
    const int64_t cuts = inner > kChunk ? ceil_div(inner, kChunk) : 1;
    piece = cuts > 1 ? round_up(ceil_div(inner, cuts), 16) : inner;
    pieces = ceil_div(inner, piece);
    images = cuts > 1 ? 1 : kChunk / inner;
    chunks = ceil_div(n, images) * pieces;
  }
  int64_t count() const { return n * inner; }
  FASTNN_INLINE int64_t first(int64_t channel, int64_t i) const {
    return (i / pieces * images * c + channel) * inner + i % pieces * piece;
  }
  FASTNN_INLINE Chunk chunk(int64_t channel, int64_t i, int64_t next) const {
    const int64_t image = i / pieces * images, at = i % pieces * piece, begin = first(channel, i);
    return {begin, inner - at < piece ? inner - at : piece, n - image < images ? n - image : images,
            c * inner, next >= 0 && next < chunks ? first(channel, next) - begin : 0};
  }
};

// ---- runs -------------------------------------------------------------------------------------------------

template <class T>
FASTNN_INLINE void ask_for(const T* p) {
  __builtin_prefetch(p);
}
// Calls f(offset, lanes, which) for the vectors of a run; `which` alternates between 0 and 1.
template <class T, class F>
FASTNN_INLINE void for_vectors(int64_t n, F&& f) {
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) f(i, N, 0), f(i + N, N, 1), f(i + 2 * N, N, 0), f(i + 3 * N, N, 1);
  for (; i + N <= n; i += N) f(i, N, 0);
  if (i < n) f(i, static_cast<int>(n - i), 1);
}

// Two sums over a chunk, by lanes; f(offset, lanes) gives what a vector adds to either.
template <class T>
struct Sums {
  Vec<T> a, b;
};
template <class T, class F>
FASTNN_INLINE Sums<T> sum_chunk(const Chunk& chunk, F&& f) {
  Sums<T> s[2];
  s[0].a = s[0].b = s[1].a = s[1].b = Vec<T>(T(0));
  for (int64_t run = 0; run < chunk.runs; ++run) {
    const int64_t base = chunk.first + run * chunk.stride;
    for_vectors<T>(chunk.length, [&](int64_t i, int lanes, int which) {
      const Sums<T> term = f(base + i, lanes);
      s[which].a = s[which].a + term.a;
      s[which].b = s[which].b + term.b;
    });
  }
  return {s[0].a + s[1].a, s[0].b + s[1].b};
}

// ---- mean and variance ------------------------------------------------------------------------------------

// Sums of (x - near) and of its squares over n elements are as exact as `near` is near the mean: where its
// distance is most of the squares, as it is for elements that hardly differ, a nearer one is called for.
struct Nearness {
  double rest, squares;  // the mean less `near`, and the sum of (x - mean)^2
  bool far;
  FASTNN_INLINE Nearness(double d, double dd, double n)
      : rest(d / n), squares(dd - d * d / n), far(d * d / n > 0.25 * dd) {
    if (squares < 0) squares = 0;
  }
};
constexpr int kApproaches = 3;

struct Moments {
  double count = 0, mean = 0, squares = 0;  // squares: the sum of (x - mean)^2

  FASTNN_INLINE void merge(const Moments& other) {
    if (count == 0) {
      *this = other;
      return;
    }
    const double total = count + other.count, apart = other.mean - mean, share = other.count / total;
    mean += apart * share;
    squares += other.squares + apart * apart * count * share;
    count = total;
  }
  double variance() const { return squares / count; }
  template <class T>
  T rstd(double eps) const {
    return static_cast<T>(1 / __builtin_sqrt(variance() + eps));
  }
};

template <class T>
Moments moments_of(const T* x, const Chunk& chunk) {
  using V = Vec<T>;
  const double count = static_cast<double>(chunk.length * chunk.runs);
  const V zero(T(0));
  T near = static_cast<T>(
      reduce_add(
          sum_chunk<T>(chunk, [&](int64_t at, int lanes) { return Sums<T>{load_some(x + at, lanes), zero}; })
              .a) /
      count);
  for (int approach = 0;; ++approach) {
    const V shift(near);
    const Sums<T> s = sum_chunk<T>(chunk, [&](int64_t at, int lanes) {
      ask_for(x + at + chunk.ahead);
      const V d = first_lanes(load_some(x + at, lanes) - shift, lanes);
      return Sums<T>{d, d * d};
    });
    const Nearness of(reduce_add(s.a), reduce_add(s.b), count);
    if (!of.far || approach == kApproaches) return {count, near + of.rest, of.squares};
    near = static_cast<T>(near + of.rest);
  }
}

template <class T>
Moments row_moments(const T* x, const Channels& rows, int64_t row) {
  Moments all;
  for (int64_t i = 0; i < rows.chunks; ++i) {
    Chunk chunk = rows.chunk(row, i, i + 1);
    if (chunk.ahead == 0 && row + 1 < rows.c) chunk.ahead = rows.first(row + 1, 0) - chunk.first;
    all.merge(moments_of(x, chunk));
  }
  return all;
}

// x normalized, as forward writes it and as every gradient computes it again, to the bit.
template <class T>
FASTNN_INLINE Vec<T> normalized(Vec<T> x, Vec<T> mean, Vec<T> rstd) {
  return (x - mean) * rstd;
}

}  // namespace fastnn::FASTNN_ISA
