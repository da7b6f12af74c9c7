// Depthwise convolution: one channel in, one filter. There is nothing to share between filters, so nothing is
// packed: a vector of neighbouring pixels is summed over the taps straight from the image, its lanes outside
// the image masked off. What a column of vectors needs to know of each tap's columns is worked out once for
// all rows.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/product.h"
#include "cpu/conv/strided_part.h"

namespace fastnn::FASTNN_ISA {
namespace {

// Taps of a row that are prepared at a time; taps of a filter that the gradient keeps sums of.
constexpr int64_t kDepthwiseTaps = 64;

// Q rows of pixels, `lanes` of each. One sum waits for its last multiply-add; several side by side do not.
template <class T, class Part, int Q>
struct DepthwiseRows {
  const ConvProduct<T>& p;
  const Part* part;  // of each tap of a row
  const T* w;
  const T* first;  // where tap 0 of a row meets line 0
  int64_t line;    // that tap 0 of the first row meets
  Vec<T> sum[Q];

  // Rows [q0, q0 + R) meet taps of rows [begin, end).
  template <int R>
  FASTNN_INLINE void add(int q0, int64_t begin, int64_t end) {
    const PixelGrid<T>& g = p.grid;
    const int64_t next = g.stride_h * g.width;
    for (int64_t r = begin; r < end; ++r) {
      const T* from = first + (line + q0 * g.stride_h + r * g.row_step) * g.width;
      for (int64_t s = 0; s < g.taps_w; ++s) {
        const Vec<T> factor(w[r * p.w_row + s * p.w_col]);
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q)
          sum[q0 + q] = fma(factor, part[s].load(from + q * next + s * g.col_step), sum[q0 + q]);
      }
    }
  }
  // Each row's taps in their order: those that all rows have side by side, what some lack row by row.
  void add_all() {
    const PixelGrid<T>& g = p.grid;
    TapRange taps[Q], all{0, g.taps_h};
    for (int q = 0; q < Q; ++q) {
      taps[q] = taps_inside(line + q * g.stride_h, g.row_step, g.taps_h, g.height);
      all.begin = max_of(all.begin, taps[q].begin), all.end = min_of(all.end, taps[q].end);
    }
    if (all.begin >= all.end) all.begin = all.end = g.taps_h;
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) add<1>(q, taps[q].begin, min_of(taps[q].end, all.begin));
    add<Q>(0, all.begin, all.end);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) add<1>(q, max_of(taps[q].begin, all.end), taps[q].end);
  }
};

// Pixels [j, j + lanes) of every row of one plane.
template <class T, class Part>
void depthwise_columns(const ConvProduct<T>& p, const T* source, const T* w, T bias, int64_t j, int lanes,
                       T* out) {
  constexpr int kRows = std::is_same_v<Part, StridedPart<T, 0>> ? 1 : 4;  // those are gathered one by one
  const PixelGrid<T>& g = p.grid;
  const int64_t start = j * g.stride_w + g.col0, extent = (lanes - 1) * g.stride_w + 1;
  Part part[kDepthwiseTaps];
  for (int64_t s = 0; s < g.taps_w; ++s) {
    const int64_t col = start + s * g.col_step;
    part[s] = {-col, min_of(g.width - col, extent), g.stride_w};
  }
  const auto rows = [&]<int Q>(int64_t i, Lanes<Q>) {
    DepthwiseRows<T, Part, Q> these{p, part, w, source + start, i * g.stride_h + g.row0, {}};
    for (Vec<T>& sum : these.sum) sum = Vec<T>(bias);
    these.add_all();
    for (int q = 0; q < Q; ++q) {
      const Vec<T> y = p.relu ? max(Vec<T>(T(0)), these.sum[q]) : these.sum[q];
      T* to = out + (i + q) * p.out_row + j * p.out_col;
      if (p.out_col == 1)
        y.store_n(to, lanes);
      else
        for (int l = 0; l < lanes; ++l) to[l * p.out_col] = y[l];
    }
  };
  int64_t i = 0;
  for (; i + kRows <= g.rows; i += kRows) rows(i, Lanes<kRows>{});
  for (; i < g.rows; ++i) rows(i, Lanes<1>{});
}

// The same for square filters of R x R that step by one: every line of the image is loaded once per tap
// column and added to the R output rows that it meets, which are kept in registers. `ahead` is where the next
// plane begins.
template <class T, int R>
void square_columns(const ConvProduct<T>& p, const T* source, const T* w, T bias, int64_t j, int lanes,
                    const T* ahead, T* out) {
  using V = Vec<T>;
  constexpr int64_t kLine = 64 / sizeof(T);
  const PixelGrid<T>& g = p.grid;
  const int64_t start = j + g.col0, base = g.row_step > 0 ? g.row0 : g.row0 - (R - 1);
  T factor[R][R];  // by distance from `base`
  StridedPart<T, 1> part[R];
  for (int s = 0; s < R; ++s) {
    const int64_t col = start + s * g.col_step;
    part[s] = {-col, min_of(g.width - col, lanes), 1};
    for (int r = 0; r < R; ++r) factor[g.row_step > 0 ? r : R - 1 - r][s] = w[r * p.w_row + s * p.w_col];
  }
  V sum[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sum[r] = V(bias);
  for (int64_t i = 1 - R; i < g.rows; ++i) {  // the row that ends with this line
    const int64_t line = i + R - 1 + base;
    __builtin_prefetch(ahead);
    ahead += kLine;
#pragma GCC unroll 8
    for (int r = R - 1; r > 0; --r) sum[r] = sum[r - 1];
    sum[0] = V(bias);
    if (line >= 0 && line < g.height) {
      const T* from = source + line * g.width + start;
      V x[R];
#pragma GCC unroll 8
      for (int s = 0; s < R; ++s) x[s] = part[s].load(from + s * g.col_step), keep(x[s]);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        V product = x[0] * V(factor[r][0]);
#pragma GCC unroll 8
        for (int s = 1; s < R; ++s) product = fma(x[s], V(factor[r][s]), product);
        sum[r] = sum[r] + product;
      }
    }
    if (i < 0) continue;
    const V y = p.relu ? max(V(T(0)), sum[R - 1]) : sum[R - 1];
    T* to = out + i * p.out_row + j;
    lanes == V::N ? y.store(to) : y.store_n(to, lanes);
  }
}

// Whether every step is one, for square_columns.
template <class T>
bool steps_by_one(const ConvProduct<T>& p) {
  const PixelGrid<T>& g = p.grid;
  const auto one = [](int64_t step) { return step == 1 || step == -1; };
  return g.stride_h == 1 && g.stride_w == 1 && one(g.row_step) && one(g.col_step) && p.out_col == 1;
}

template <class T, int R>
void square_plane(const ConvProduct<T>& p, const T* source, const T* w, T bias, T* out) {
  const PixelGrid<T>& g = p.grid;
  const T* ahead = source + g.height * g.width;
  for (int64_t j = 0; j < g.cols; j += Vec<T>::N) {
    square_columns<T, R>(p, source, w, bias, j, static_cast<int>(min_of(Vec<T>::N, g.cols - j)), ahead, out);
    ahead += (g.rows + R - 1) * static_cast<int64_t>(64 / sizeof(T));
  }
}

// Filters of many taps read a copy of a small plane, its rows padded so that no tap meets an edge: a masked
// load for every tap would cost more.
constexpr int64_t kCopyTaps = 16, kCopyElements = 8192;
template <class T>
constexpr int64_t copied_pitch(const PixelGrid<T>& g) {
  const int64_t span = (g.taps_w - 1) * (g.col_step < 0 ? -g.col_step : g.col_step);
  return round_up(g.cols, Vec<T>::N) + span;
}
template <class T>
bool copy_pays(const PixelGrid<T>& g) {
  return g.stride_w == 1 && g.depth() >= kCopyTaps && g.height * copied_pitch(g) <= kCopyElements;
}

// In place of a StridedPart where every vector of a row may be loaded whole.
template <class T>
struct Whole {
  Whole() = default;
  Whole(int64_t, int64_t, int64_t) {}
  FASTNN_INLINE Vec<T> load(const T* p) const { return Vec<T>::load(p); }
};

template <class T>
void copied_plane(const ConvProduct<T>& p, const T* source, const T* w, T bias, T* out) {
  alignas(64) T plane[kCopyElements];
  const PixelGrid<T>& g = p.grid;
  const int64_t pitch = copied_pitch(g), left = min_of(g.col0, g.col0 + (g.taps_w - 1) * g.col_step);
  const int64_t from = max_of(left, 0),
                to = max_of(from, min_of(g.width, left + pitch));  // of a row that is met
  for (int64_t i = 0; i < g.height; ++i) {
    T* const row = plane + i * pitch;
    for (int64_t j = 0; j < from - left; ++j) row[j] = T(0);
    memcpy(row + from - left, source + i * g.width + from, static_cast<size_t>(to - from) * sizeof(T));
    for (int64_t j = to - left; j < pitch; ++j) row[j] = T(0);
  }
  ConvProduct<T> copied = p;
  copied.grid.width = pitch, copied.grid.col0 = g.col0 - left;
  for (int64_t j = 0; j < g.cols; j += Vec<T>::N)
    depthwise_columns<T, Whole<T>>(copied, plane, w, bias, j, static_cast<int>(min_of(Vec<T>::N, g.cols - j)),
                                   out);
}

}  // namespace

template <class T>
bool is_depthwise(const ConvProduct<T>& p) {
  return p.filters == 1 && p.grid.channels == 1 && p.grid.taps_w <= kDepthwiseTaps;
}

template <class T>
bool is_depthwise(const ConvShape& s) {
  return s.k == s.groups && s.c == s.groups && s.r * s.s <= kDepthwiseTaps;
}

template <class T>
Status run_depthwise(Context& ctx, const ConvProduct<T>& p) {
  const bool square = steps_by_one(p) && p.grid.taps_h == p.grid.taps_w;
  const PixelGrid<T>& g = p.grid;
  const double nanoseconds =
      static_cast<double>(g.pixels() * p.groups) * static_cast<double>(g.depth() + 1) / kVectorBytes;
  return parallel_for(ctx, g.images * p.groups, nanoseconds, [&](int64_t task, int) {
    const int64_t n = task / p.groups, group = task - n * p.groups;
    const T* source = g.source + n * g.image_step + group * p.source_group;
    const T* w = p.w + group * p.w_group;
    const T bias = p.bias ? p.bias[group] : T(0);
    T* out = p.out + n * p.out_image + group * p.out_group;
    if (square && g.taps_h == 3) return square_plane<T, 3>(p, source, w, bias, out);
    if (square && g.taps_h == 5) return square_plane<T, 5>(p, source, w, bias, out);
    if (copy_pays(g)) return copied_plane(p, source, w, bias, out);
    for (int64_t j = 0; j < g.cols; j += Vec<T>::N) {
      const int lanes = static_cast<int>(min_of(Vec<T>::N, g.cols - j));
      if (g.stride_w == 1)
        depthwise_columns<T, StridedPart<T, 1>>(p, source, w, bias, j, lanes, out);
      else if (g.stride_w == 2)
        depthwise_columns<T, StridedPart<T, 2>>(p, source, w, bias, j, lanes, out);
      else
        depthwise_columns<T, StridedPart<T, 0>>(p, source, w, bias, j, lanes, out);
    }
  });
}

template <class T>
Status depthwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return run_depthwise(ctx, forward_product<T>(params, s));
}

namespace {

// The filters' gradient: every tap keeps a vector of sums over the pixels of all images, added up at the end.
template <class T, int kStep>
void depthwise_plane_grad(const ConvShape& s, const T* x, const T* dy, Vec<T>* sum) {
  constexpr int N = Vec<T>::N;
  for (int64_t q = 0; q < s.q; q += N) {
    const int lanes = static_cast<int>(min_of(N, s.q - q));
    const int64_t start = q * s.stride_w - s.pad_w, extent = (lanes - 1) * s.stride_w + 1;
    StridedPart<T, kStep> part[kDepthwiseTaps];
    for (int64_t t = 0; t < s.s; ++t) {
      const int64_t col = start + t * s.dilation_w;
      part[t] = {-col, min_of(s.w - col, extent), s.stride_w};
    }
    for (int64_t p = 0; p < s.p; ++p) {
      const Vec<T> d = lanes == N ? Vec<T>::load(dy + p * s.q + q) : Vec<T>::load_n(dy + p * s.q + q, lanes);
      const int64_t line = p * s.stride_h - s.pad_h;
      const TapRange taps = taps_inside(line, s.dilation_h, s.r, s.h);
      for (int64_t r = taps.begin; r < taps.end; ++r) {
        const T* from = x + (line + r * s.dilation_h) * s.w + start;
        for (int64_t t = 0; t < s.s; ++t)
          sum[r * s.s + t] = fma(d, part[t].load(from + t * s.dilation_w), sum[r * s.s + t]);
      }
    }
  }
}

// The same for filters of R x R that step by one: a line of x is loaded once per tap column and meets R rows
// of dy, which stay in registers, as do the sums. `image` is the distance to the next image's planes.
template <class T, int R>
void square_plane_grad(const ConvShape& s, const T* x, const T* dy, int64_t x_image, int64_t dy_image,
                       Vec<T>* sum) {
  using V = Vec<T>;
  constexpr int64_t kLine = 64 / sizeof(T);
  V acc[R][R], d[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < R; ++j) acc[i][j] = sum[i * R + j];
  const T *x_ahead = x + x_image, *dy_ahead = dy + dy_image;
  for (int64_t q = 0; q < s.q; q += V::N) {
    const int lanes = static_cast<int>(min_of(V::N, s.q - q));
    const int64_t start = q - s.pad_w;
    StridedPart<T, 1> part[R];
#pragma GCC unroll 8
    for (int t = 0; t < R; ++t) part[t] = {-start - t, min_of(s.w - start - t, lanes), 1};
    for (int64_t p = 0; p < s.p + R - 1; ++p) {  // line p - pad_h meets rows p, p - 1, .., p - R + 1 of dy
      __builtin_prefetch(x_ahead);
      __builtin_prefetch(dy_ahead);
      x_ahead += kLine, dy_ahead += kLine;
#pragma GCC unroll 8
      for (int r = R - 1; r > 0; --r) d[r] = d[r - 1];
      if (p < s.p) d[0] = lanes == V::N ? V::load(dy + p * s.q + q) : V::load_n(dy + p * s.q + q, lanes);
      const int64_t line = p - s.pad_h;
      if (line < 0 || line >= s.h) continue;
      const T* from = x + line * s.w + start;
      const bool all = p >= R - 1 && p < s.p;  // else rows of dy that do not exist are left out
#pragma GCC unroll 8
      for (int t = 0; t < R; ++t) {
        V v = part[t].load(from + t);
        keep(v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
          if (all || (p - r >= 0 && p - r < s.p)) acc[r][t] = fma(d[r], v, acc[r][t]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < R; ++j) sum[i * R + j] = acc[i][j];
}

}  // namespace

template <class T>
Status depthwise_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const T *x = static_cast<const T*>(params.x), *dy = static_cast<const T*>(params.dy);
  T* dw = static_cast<T*>(params.out);
  const bool square =
      s.r == s.s && s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1;
  const double nanoseconds =
      static_cast<double>(s.n * s.k * s.p * s.q) * static_cast<double>(s.r * s.s) / kVectorBytes;
  return parallel_for(ctx, s.groups, nanoseconds, [&](int64_t group, int) {
    Vec<T> sum[kDepthwiseTaps];
    for (int64_t t = 0; t < s.r * s.s; ++t) sum[t] = Vec<T>(T(0));
    for (int64_t n = 0; n < s.n; ++n) {
      const T* plane = x + (n * s.c + group) * s.h * s.w;
      const T* dplane = dy + (n * s.k + group) * s.p * s.q;
      if (square && s.r == 3)
        square_plane_grad<T, 3>(s, plane, dplane, s.c * s.h * s.w, s.k * s.p * s.q, sum);
      else if (square && s.r == 5)
        square_plane_grad<T, 5>(s, plane, dplane, s.c * s.h * s.w, s.k * s.p * s.q, sum);
      else if (s.stride_w == 1)
        depthwise_plane_grad<T, 1>(s, plane, dplane, sum);
      else if (s.stride_w == 2)
        depthwise_plane_grad<T, 2>(s, plane, dplane, sum);
      else
        depthwise_plane_grad<T, 0>(s, plane, dplane, sum);
    }
    for (int64_t t = 0; t < s.r * s.s; ++t) dw[group * s.r * s.s + t] = reduce_add(sum[t]);
  });
}

template bool is_depthwise(const ConvProduct<float>& p);
template bool is_depthwise(const ConvProduct<double>& p);
template Status run_depthwise(Context& ctx, const ConvProduct<float>& p);
template Status run_depthwise(Context& ctx, const ConvProduct<double>& p);
template bool is_depthwise<float>(const ConvShape& s);
template bool is_depthwise<double>(const ConvShape& s);
template Status depthwise_forward<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status depthwise_forward<double>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status depthwise_grad_weight<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status depthwise_grad_weight<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
