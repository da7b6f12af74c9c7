// Batch normalisation of a matrix (n, c): channels are columns, and the lanes of vectors. Each lane goes its
// own way down its column, so nothing depends on how columns are shared out.
#pragma once
#include "cpu/norm/batch.h"

namespace fastnn::FASTNN_ISA {

constexpr int kStripVectors = 4;

// `vectors` vectors of neighbouring columns, of which the last has `last` lanes.
template <class T, int vectors>
struct Strip {
  static constexpr int N = Vec<T>::N;
  int64_t n, c, first;
  int last;

  FASTNN_INLINE int lanes(int j) const { return j + 1 < vectors ? N : last; }
  template <class F>
  FASTNN_INLINE void each(F&& f) const {  // f(offset, vector, its lanes)
    for (int64_t row = 0; row < n; ++row)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) f(row * c + first + j * N, j, lanes(j));
  }
  // Two sums of each column; every 64 rows what there is so far is put aside, so that long columns keep their
  // accuracy.
  template <class F>
  FASTNN_INLINE void sum(Sums<T> (&total)[vectors], F&& f) const {
    const Vec<T> zero(T(0));
    for (int j = 0; j < vectors; ++j) total[j] = {zero, zero};
    for (int64_t begin = 0; begin < n; begin += 64) {
      Sums<T> part[vectors];
      for (int j = 0; j < vectors; ++j) part[j] = {zero, zero};
      const Strip rows{n - begin < 64 ? n - begin : 64, c, begin * c + first, last};
      rows.each([&](int64_t at, int j, int n_lanes) {
        const Sums<T> term = f(at, j, n_lanes);
        part[j].a = part[j].a + term.a;
        part[j].b = part[j].b + term.b;
      });
      for (int j = 0; j < vectors; ++j) total[j] = {total[j].a + part[j].a, total[j].b + part[j].b};
    }
  }
  FASTNN_INLINE Vec<T> load(const void* p, int j, T otherwise) const {
    return p ? load_some(static_cast<const T*>(p) + first + j * N, lanes(j)) : Vec<T>(otherwise);
  }
  FASTNN_INLINE void store(void* p, int j, Vec<T> v) const {
    if (p) store_some(v, static_cast<T*>(p) + first + j * N, lanes(j));
  }
};

// Calls f(strip) for strips that cover all columns.
template <class T, class F>
Status for_strips(Context& ctx, const BatchNormParams& p, double passes, F&& f) {
  constexpr int N = Vec<T>::N;
  const int64_t wide = p.c >= 8 * kStripVectors * N ? p.c / (kStripVectors * N) : 0;
  const int64_t narrow = ceil_div(p.c - wide * kStripVectors * N, N);
  return parallel_for(ctx, wide + narrow, nanoseconds<T>(p, passes), [&](int64_t task, int) {
    if (task < wide) return f(Strip<T, kStripVectors>{p.n, p.c, task * kStripVectors * N, N});
    const int64_t first = wide * kStripVectors * N + (task - wide) * N;
    f(Strip<T, 1>{p.n, p.c, first, static_cast<int>(p.c - first < N ? p.c - first : N)});
  });
}

template <class T, int vectors>
void column_moments(const BatchNormParams& p, const Strip<T, vectors>& s) {
  using V = Vec<T>;
  const T* const x = static_cast<const T*>(p.x);
  const V zero(T(0)), count(static_cast<T>(p.n));
  V near[vectors];
  Sums<T> sums[vectors];
  s.sum(sums, [&](int64_t at, int, int lanes) { return Sums<T>{load_some(x + at, lanes), zero}; });
  for (int j = 0; j < vectors; ++j) near[j] = sums[j].a / count;
  const double n = static_cast<double>(p.n);
  bool again = true;  // a lane that stays as it is sums to the same bits
  for (int approach = 0; again; ++approach) {
    s.sum(sums, [&](int64_t at, int j, int lanes) {
      const V d = load_some(x + at, lanes) - near[j];
      return Sums<T>{d, d * d};
    });
    again = false;
    for (int j = 0; j < vectors; ++j)
      for (int i = 0; i < s.lanes(j); ++i) {
        const Nearness of(sums[j].a[i], sums[j].b[i], n);
        if (!of.far || approach == kApproaches) continue;
        near[j].v[i] = static_cast<T>(near[j][i] + of.rest);
        again = true;
      }
  }
  for (int j = 0; j < vectors; ++j)
    for (int i = 0; i < s.lanes(j); ++i) {
      const Nearness of(sums[j].a[i], sums[j].b[i], n);
      keep_moments<T>(p, s.first + j * V::N + i, near[j][i] + of.rest, of.squares / n);
    }
}

template <class T, bool rectified>
Status columns_forward(Context& ctx, const BatchNormParams& p) {
  if (!p.training) keep_running<T>(p);
  return for_strips<T>(ctx, p, p.training ? 3 : 1, [&]<int vectors>(const Strip<T, vectors>& s) {
    if (p.training) column_moments(p, s);
    Vec<T> mean[vectors], rstd[vectors], weight[vectors], bias[vectors];
    for (int j = 0; j < vectors; ++j)
      mean[j] = s.load(p.mean, j, 0), rstd[j] = s.load(p.rstd, j, 0), weight[j] = s.load(p.weight, j, 1),
      bias[j] = s.load(p.bias, j, 0);
    s.each([&](int64_t at, int j, int lanes) {
      const Vec<T> x = load_some(static_cast<const T*>(p.x) + at, lanes);
      const Vec<T> z = affine(normalized(x, mean[j], rstd[j]), weight[j], bias[j]);
      store_some(rectified ? relu(z) : z, static_cast<T*>(p.y) + at, lanes);
    });
  });
}

template <class T, bool masked>
Status columns_backward(Context& ctx, const BatchNormParams& p) {
  return for_strips<T>(ctx, p, 4, [&]<int vectors>(const Strip<T, vectors>& s) {
    using V = Vec<T>;
    V mean[vectors], rstd[vectors], weight[vectors], bias[vectors];
    for (int j = 0; j < vectors; ++j)
      mean[j] = s.load(p.mean, j, 0), rstd[j] = s.load(p.rstd, j, 0), weight[j] = s.load(p.weight, j, 1),
      bias[j] = s.load(p.bias, j, 0);
    auto term = [&](int64_t at, int j, int lanes) {  // {g, h}
      const V h = normalized(load_some(static_cast<const T*>(p.x) + at, lanes), mean[j], rstd[j]);
      const V dy = load_some(static_cast<const T*>(p.dy) + at, lanes);
      return Sums<T>{unmasked<T, masked>(dy, h, weight[j], bias[j]), h};
    };
    Sums<T> sums[vectors];
    s.sum(sums, [&](int64_t at, int j, int lanes) {
      const Sums<T> gh = term(at, j, lanes);
      return Sums<T>{gh.a, gh.a * gh.b};
    });
    const V count(static_cast<T>(p.n));
    for (int j = 0; j < vectors; ++j) {
      s.store(p.dbias, j, sums[j].a);
      s.store(p.dweight, j, sums[j].b);
      sums[j] = {sums[j].a / count, sums[j].b / count};
    }
    if (!p.dx) return;
    s.each([&](int64_t at, int j, int lanes) {
      const Sums<T> gh = term(at, j, lanes);
      const V centred = p.training ? gh.a - fma(gh.b, sums[j].b, sums[j].a) : gh.a;
      store_some(weight[j] * rstd[j] * centred, static_cast<T*>(p.dx) + at, lanes);
    });
  });
}

}  // namespace fastnn::FASTNN_ISA
