// Layer normalisation: every row of a matrix by its own mean and deviation.
//
// Forward reads a row from memory once: the passes after the first find it in the cache. Backward, with
// h = (x - mean) rstd and g = dy weight:
//
//   dx = rstd (g - mean(g) - h mean(g h))     dweight = sum over rows of dy h     dbias = sum over rows of dy
//
// A block of rows adds to sums of its own, a few rows at once, so that those are read and written seldom; a
// second stage adds the blocks up. Blocks depend on the shape alone.
#pragma once
#include "cpu/norm/moments.h"

namespace fastnn::FASTNN_ISA {

constexpr int kRowsAtOnce = 4;
constexpr int64_t kMostRowBlocks = 64;

// ---- forward ----------------------------------------------------------------------------------------------

template <class T>
void normalize_row(const LayerNormParams& p, T* y, const T* x, T mean, T rstd) {
  const T* const weight = static_cast<const T*>(p.weight);
  const T* const bias = static_cast<const T*>(p.bias);
  const Vec<T> m(mean), r(rstd);
  const auto each = [&](auto affine) {
    for_vectors<T>(p.size, [&](int64_t i, int lanes, int) {
      store_some(affine(normalized(load_some(x + i, lanes), m, r), i, lanes), y + i, lanes);
    });
  };
  if (weight && bias)
    each(
        [&](Vec<T> h, int64_t i, int n) { return fma(h, load_some(weight + i, n), load_some(bias + i, n)); });
  else if (weight)
    each([&](Vec<T> h, int64_t i, int n) { return h * load_some(weight + i, n); });
  else if (bias)
    each([&](Vec<T> h, int64_t i, int n) { return h + load_some(bias + i, n); });
  else
    each([](Vec<T> h, int64_t, int) { return h; });
}

template <class T>
Status layer_forward(Context& ctx, const LayerNormParams& p) {
  const Channels rows(1, p.rows, p.size);
  const T* const x = static_cast<const T*>(p.x);
  T* const y = static_cast<T*>(p.y);
  const int64_t per_task = p.size < kChunk ? kChunk / p.size : 1;
  const double ns = static_cast<double>(p.rows) *
                    (static_cast<double>(p.size) * kNsPerNormalized * sizeof(T) / 4 + kNsPerStatistics);
  return parallel_for(ctx, ceil_div(p.rows, per_task), ns, [&](int64_t task, int) {
    const int64_t end = min_of((task + 1) * per_task, p.rows);
    for (int64_t row = task * per_task; row < end; ++row) {
      const Moments moments = row_moments(x, rows, row);
      const T mean = static_cast<T>(moments.mean), rstd = moments.rstd<T>(p.eps);
      static_cast<T*>(p.mean)[row] = mean;
      static_cast<T*>(p.rstd)[row] = rstd;
      normalize_row(p, y + row * p.size, x + row * p.size, mean, rstd);
    }
  });
}

// ---- backward ---------------------------------------------------------------------------------------------

template <class T>
struct RowGradient {
  const T* x;
  const T* dy;
  T* dx;
  Vec<T> mean, rstd;
  Vec<T> of_h, constant;  // dx = g rstd + h of_h + constant
};

template <class T>
RowGradient<T> row_gradient(const LayerNormParams& p, int64_t row) {
  using V = Vec<T>;
  const int64_t at = row * p.size;
  const T* const weight = static_cast<const T*>(p.weight);
  RowGradient<T> g;
  g.x = static_cast<const T*>(p.x) + at;
  g.dy = static_cast<const T*>(p.dy) + at;
  g.dx = p.dx ? static_cast<T*>(p.dx) + at : nullptr;
  g.mean = V(static_cast<const T*>(p.mean)[row]);
  g.rstd = V(static_cast<const T*>(p.rstd)[row]);
  if (!g.dx) return g;
  double sum = 0, sum_h = 0;
  const auto add_chunk = [&](const Chunk& chunk, auto weigh) {
    const Sums<T> s = sum_chunk<T>(chunk, [&](int64_t i, int lanes) {
      const V h = normalized(load_some(g.x + i, lanes), g.mean, g.rstd);
      const V v = weigh(load_some(g.dy + i, lanes), i, lanes);
      return Sums<T>{v, v * h};  // lanes past the end: v is 0
    });
    sum += reduce_add(s.a);
    sum_h += reduce_add(s.b);
  };
  for (int64_t begin = 0; begin < p.size; begin += kChunk) {
    const Chunk chunk{begin, min_of(p.size - begin, kChunk), 1, 0, 0};
    if (weight)
      add_chunk(chunk, [&](V dy, int64_t i, int lanes) { return dy * load_some(weight + i, lanes); });
    else
      add_chunk(chunk, [](V dy, int64_t, int) { return dy; });
  }
  const double scale = -static_cast<double>(g.rstd[0]) / static_cast<double>(p.size);
  g.of_h = V(static_cast<T>(sum_h * scale));
  g.constant = V(static_cast<T>(sum * scale));
  return g;
}

// dx of `count` rows, and what they add to dweight and dbias (in `sums`, one after the other). `all`: there
// are weights, and sums are wanted, as in most training; else it is asked at every vector.
template <class T, bool all, int count>
void gradient_of_rows(const LayerNormParams& p, int64_t first, T* sums) {
  using V = Vec<T>;
  RowGradient<T> row[count];
  for (int r = 0; r < count; ++r) row[r] = row_gradient<T>(p, first + r);
  const T* const weight = static_cast<const T*>(p.weight);
  const bool weighted = all || weight, summed = all || sums;
  T* const dweight = sums;
  T* const dbias = summed ? sums + p.size : nullptr;
  for_vectors<T>(p.size, [&](int64_t i, int lanes, int) {
    V w, dw, db;
    if (weighted) w = load_some(weight + i, lanes);
    if (summed) dw = load_some(dweight + i, lanes), db = load_some(dbias + i, lanes);
#pragma GCC unroll 4
    for (int r = 0; r < count; ++r) {
      const V h = normalized(load_some(row[r].x + i, lanes), row[r].mean, row[r].rstd);
      const V dy = load_some(row[r].dy + i, lanes);
      if (summed) dw = fma(dy, h, dw), db = db + dy;
      if (!row[r].dx) continue;
      const V dx = fma(weighted ? dy * w : dy, row[r].rstd, fma(h, row[r].of_h, row[r].constant));
      store_some(dx, row[r].dx + i, lanes);
    }
    if (summed) store_some(dw, dweight + i, lanes), store_some(db, dbias + i, lanes);
  });
}

// dweight and dbias from the blocks' sums (blocks x 2 x size), in order.
template <class T>
Status add_blocks(Context& ctx, const LayerNormParams& p, const T* sums, int64_t blocks) {
  constexpr int64_t kColumns = 512;
  T* const out[2] = {static_cast<T*>(p.dweight), static_cast<T*>(p.dbias)};
  const int64_t tiles = ceil_div(p.size, kColumns);
  const double ns = static_cast<double>(2 * p.size * blocks) * 0.05 * sizeof(T) / 4;
  return parallel_for(ctx, 2 * tiles, ns, [&](int64_t task, int) {
    const int64_t which = task / tiles, begin = task % tiles * kColumns;
    if (!out[which]) return;
    const T* const from = sums + which * p.size + begin;
    for_vectors<T>(p.size - begin < kColumns ? p.size - begin : kColumns, [&](int64_t i, int lanes, int) {
      Vec<T> sum = load_some(from + i, lanes);
      for (int64_t b = 1; b < blocks; ++b) sum = sum + load_some(from + b * 2 * p.size + i, lanes);
      store_some(sum, out[which] + begin + i, lanes);
    });
  });
}

template <class T>
Status layer_backward(Context& ctx, const LayerNormParams& p) {
  const bool summed = p.dweight || p.dbias;
  int64_t per_block = round_up(ceil_div(p.rows, kMostRowBlocks), kRowsAtOnce);
  per_block = max_of(per_block, 2 * kChunk / p.size);
  const int64_t blocks = ceil_div(p.rows, per_block);
  T* const sums = summed ? workspace<T>(ctx, static_cast<size_t>(2 * blocks * p.size)) : nullptr;
  if (summed && !sums) return Status::need_workspace;
  const double ns = static_cast<double>(p.rows) *
                    (static_cast<double>(p.size) * 2 * kNsPerNormalized * sizeof(T) / 4 + kNsPerStatistics);
  constexpr bool kAll = sizeof(T) == sizeof(float);  // float64 always asks
  const bool all = p.weight && summed;
  const auto several = all ? gradient_of_rows<T, kAll, kRowsAtOnce> : gradient_of_rows<T, false, kRowsAtOnce>;
  const auto one = all ? gradient_of_rows<T, kAll, 1> : gradient_of_rows<T, false, 1>;
  const Status status = parallel_for(ctx, blocks, ns, [&](int64_t block, int) {
    T* const own = summed ? sums + block * 2 * p.size : nullptr;
    if (summed) memset(own, 0, static_cast<size_t>(2 * p.size) * sizeof(T));
    const int64_t end = min_of((block + 1) * per_block, p.rows);
    int64_t row = block * per_block;
    for (; row + kRowsAtOnce <= end; row += kRowsAtOnce) several(p, row, own);
    for (; row < end; ++row) one(p, row, own);
  });
  if (!summed || status != Status::ok) return status;
  return add_blocks(ctx, p, sums, blocks);
}

}  // namespace fastnn::FASTNN_ISA
