// The gradient of the filters where channels are few or vectors of filters would have idle lanes: dw[k][(c,
// r, s)] is a dot product of filter k's plane of dy with the pixels that the tap meets, which shifted planes
// hold in the same order. Both are read as vectors, dy from where it is; a tile keeps 4 x 4 sums of vectors
// in registers for as long as a block of pixels lasts and then adds their lanes by a tree.
//
// Tasks sum blocks of pixels apart, how many depends on the shape alone, and their sums are added in order.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/shifted_planes.h"
#include "cpu/gemm/blocking.h"
#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

// A tile: 4 filters with 4 taps, or 3 with 5 where that leaves fewer of its rows and columns idle; with 16
// registers 2 filters.
constexpr int dot_filters(int taps) { return kRegisters == 32 ? 8 - taps : 2; }
constexpr int64_t kDotPixels = 1024;       // of a block, about: adding lanes costs as much as 60 pixels
constexpr int64_t kDotElements = 1 << 16;  // of a block's planes: 256 KB, in L2

// Where a vector of pixels begins, from the first pixel of the block: images follow each other at different
// distances in dy and in the planes.
struct DotStep {
  int32_t dy, x;
};

template <class T>
struct DotTile {
  const T* dy;
  int64_t dy_filter;
  const T* x;
  const int64_t* tap;
  const DotStep* step;
  int64_t whole, steps;  // steps of whole vectors, and all; the others have `rest` pixels
  int rest;
  int taps;
  bool accumulate;
  T* sum;  // [filter][tap], in whole vectors
};

template <class T, int K, int F>
void run_dot_tile(const DotTile<T>& t) {
  using V = Vec<T>;
  V acc[K * F];
#pragma GCC unroll 20
  for (int i = 0; i < K * F; ++i) acc[i] = V(T(0));
  const T *dy[K], *x[F];
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) dy[k] = t.dy + k * t.dy_filter;
#pragma GCC unroll 8
  for (int i = 0; i < F; ++i) x[i] = t.x + t.tap[i < t.taps ? i : 0];
  const DotStep *step = t.step, *whole = step + t.whole, *end = step + t.steps;
  for (; step < whole; ++step) {
    V a[K];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) a[k] = V::load(dy[k] + step->dy), keep(a[k]);
#pragma GCC unroll 8
    for (int i = 0; i < F; ++i) {
      V b = V::load(x[i] + step->x);
      keep(b);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) acc[k * F + i] = fma(a[k], b, acc[k * F + i]);
    }
  }
  for (; step < end; ++step) {
    V a[K];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) a[k] = V::load_n(dy[k] + step->dy, t.rest);
#pragma GCC unroll 8
    for (int i = 0; i < F; ++i) {
      const V b = V::load_n(x[i] + step->x, t.rest);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) acc[k * F + i] = fma(a[k], b, acc[k * F + i]);
    }
  }
#pragma GCC unroll 8
  for (int first = 0; first < K * F; first += V::N) {
    V row[V::N];
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) row[i] = first + i < K * F ? acc[first + i] : V(T(0));
    const V sum = add_lanes(row);
    (t.accumulate ? V::load(t.sum + first) + sum : sum).store(t.sum + first);
  }
}

template <class T, int F, int K = dot_filters(F)>
FASTNN_INLINE void dot_tile(const DotTile<T>& t, int filters) {
  if constexpr (K > 0) {
    if (filters == K) return run_dot_tile<T, K, F>(t);
    dot_tile<T, F, K - 1>(t, filters);
  }
}

// A function of the shape alone. A task is some blocks of pixels, a split, with some channels of a group.
template <class T>
struct DotPlan {
  ShiftedPlanes planes;
  int64_t filters, channels, taps;  // per group; taps of a channel
  int64_t block_images, image_blocks, row_blocks, blocks;
  int64_t splits, channels_per_task, channel_blocks;
  int rows, cols;                   // filters and taps of a tile
  int64_t filter_tiles, tap_tiles;  // of a task's channels
  int64_t tile, sums;               // elements of a tile's sums; of a task's
  int64_t offsets, steps;           // elements of T that tables of taps and of steps take
  int64_t per_worker;
  double nanoseconds;
};

template <class T>
DotPlan<T> plan_dot(const ConvShape& s) {
  DotPlan<T> d{};
  d.filters = s.k / s.groups, d.channels = s.c / s.groups, d.taps = s.r * s.s;
  const int64_t rows = ceil_div(s.p, ceil_div(s.p * s.q, kDotPixels));
  d.planes = shifted_planes(s, rows);
  d.row_blocks = ceil_div(s.p, rows);
  d.block_images = d.row_blocks > 1 ? 1 : min_of(s.n, max_of(1, kDotPixels / (s.p * s.q)));
  d.image_blocks = ceil_div(s.n, d.block_images);
  d.blocks = d.image_blocks * d.row_blocks;
  d.splits = min_of(d.blocks, kConvTasks);
  d.splits = ceil_div(d.blocks, ceil_div(d.blocks, d.splits));
  const int64_t fit = max_of(1, kDotElements / (d.block_images * d.planes.channel));
  d.channel_blocks =
      min_of(d.channels, max_of(ceil_div(d.channels, fit), ceil_div(kConvTasks, d.splits * s.groups)));
  d.channels_per_task = ceil_div(d.channels, d.channel_blocks);
  d.channel_blocks = ceil_div(d.channels, d.channels_per_task);
  const int64_t taps = d.channels_per_task * d.taps;
  const auto padded = [&](int cols) {
    return round_up(d.filters, even_part(d.filters, dot_filters(cols))) * round_up(taps, cols);
  };
  d.cols = padded(5) < padded(4) ? 5 : 4;
  d.rows = even_part(d.filters, dot_filters(d.cols));
  d.filter_tiles = ceil_div(d.filters, d.rows);
  d.tap_tiles = ceil_div(taps, d.cols);
  d.tile = round_up(d.rows * d.cols, Vec<T>::N);
  d.sums = d.filter_tiles * d.tap_tiles * d.tile;
  d.offsets = round_up(taps, 8) * static_cast<int64_t>(sizeof(int64_t) / sizeof(T));
  d.steps = round_up(d.block_images * ceil_div(rows * s.q, Vec<T>::N), 16) *
            static_cast<int64_t>(sizeof(DotStep) / sizeof(T));
  d.per_worker =
      d.offsets + d.steps + round_up(d.block_images * d.channels_per_task * d.planes.channel + Vec<T>::N, 16);
  d.nanoseconds = static_cast<double>(s.n * s.p * s.q) * static_cast<double>(s.k * d.channels * d.taps) /
                  (2.0 * kVectorBytes);
  return d;
}

// Whole vectors of all images first, then what is left of each; returns how many are whole.
template <class T>
int64_t set_steps(int64_t images, int64_t pixels, int64_t dy_image, int64_t x_image, DotStep* step) {
  const int64_t whole = pixels / Vec<T>::N;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t i = 0; i < whole; ++i)
      *step++ = {static_cast<int32_t>(n * dy_image + i * Vec<T>::N),
                 static_cast<int32_t>(n * x_image + i * Vec<T>::N)};
  for (int64_t n = 0; n < images && whole * Vec<T>::N < pixels; ++n)
    *step++ = {static_cast<int32_t>(n * dy_image + whole * Vec<T>::N),
               static_cast<int32_t>(n * x_image + whole * Vec<T>::N)};
  return images * whole;
}

// What a worker keeps for a task.
template <class T>
struct DotScratch {
  int64_t* tap;
  DotStep* step;
  T* planes;
  DotScratch(const DotPlan<T>& d, T* own)
      : tap(reinterpret_cast<int64_t*>(own)),
        step(reinterpret_cast<DotStep*>(own + d.offsets)),
        planes(own + d.offsets + d.steps) {}
};

constexpr int64_t kFarBytes = 1 << 24;  // of dy: it comes from memory rather than cache

// Asks for part `i` of `parts` of what the next tile of filters reads of dy.
template <class T>
void prefetch_part(const T* dy, int64_t dy_filter, int filters, int64_t pixels, int64_t i, int64_t parts) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int k = 0; k < filters; ++k)
    for (int64_t l = pixels * i / parts; l < pixels * (i + 1) / parts; l += kLine)
      __builtin_prefetch(dy + k * dy_filter + l);
}

// Block `block` of pixels with some channels of a group.
template <class T>
void dot_block(const ConvShape& s, const DotPlan<T>& d, const T* x, const T* dy, int64_t block,
               int64_t channels, bool accumulate, const DotScratch<T>& own, T* sums) {
  const int64_t image = block / d.row_blocks * d.block_images, p0 = block % d.row_blocks * d.planes.rows;
  const int64_t images = min_of(d.block_images, s.n - image), rows = min_of(d.planes.rows, s.p - p0);
  const int64_t x_image = channels * d.planes.channel, pixels = rows * s.q;
  for (int64_t n = 0; n < images; ++n)
    fill_planes(s, d.planes, x + (image + n) * s.c * s.h * s.w, channels, p0, own.planes + n * x_image);
  dy += image * s.k * s.p * s.q + p0 * s.q;
  const int64_t dy_filter = s.p * s.q, dy_image = s.k * s.p * s.q;
  DotTile<T> t{};
  t.dy_filter = dy_filter;
  t.x = own.planes;
  t.step = own.step;
  t.whole = set_steps<T>(images, pixels, dy_image, x_image, own.step);
  t.steps = images * ceil_div(pixels, Vec<T>::N);
  t.rest = static_cast<int>(pixels % Vec<T>::N);
  t.accumulate = accumulate;
  const bool far = s.n * dy_image * static_cast<int64_t>(sizeof(T)) >= kFarBytes;
  const int64_t taps = channels * d.taps;
  for (int64_t k = 0; k < d.filters; k += d.rows) {
    t.dy = dy + k * dy_filter;
    t.sum = sums + k / d.rows * d.tap_tiles * d.tile;
    const int filters = static_cast<int>(min_of(d.rows, d.filters - k));
    for (int64_t i = 0; i < taps; i += d.cols, t.sum += d.tile) {
      t.tap = own.tap + i;
      t.taps = static_cast<int>(min_of(d.cols, taps - i));
      if (far)
        prefetch_part(t.dy + d.rows * dy_filter, dy_filter,
                      static_cast<int>(min_of(d.rows, d.filters - k - d.rows)), pixels, i / d.cols,
                      d.tap_tiles);
      d.cols == 5 ? dot_tile<T, 5>(t, filters) : dot_tile<T, 4>(t, filters);
    }
  }
}

// Adds the splits' sums of one tile of filters in order and puts them where they belong.
template <class T>
void combine_dots(const ConvShape& s, const DotPlan<T>& d, T* sums, int64_t group, int64_t channel_block,
                  int64_t filter_tile, T* dw) {
  using V = Vec<T>;
  const int64_t part = group * d.channel_blocks + channel_block, parts = s.groups * d.channel_blocks;
  T* own = sums + part * d.sums + filter_tile * d.tap_tiles * d.tile;
  for (int64_t i = 0; i < d.tap_tiles * d.tile; i += V::N) {
    V sum = V::load(own + i);
    for (int64_t split = 1; split < d.splits; ++split) sum = sum + V::load(own + split * parts * d.sums + i);
    sum.store(own + i);
  }
  const int64_t k0 = filter_tile * d.rows, k1 = min_of(k0 + d.rows, d.filters),
                c0 = channel_block * d.channels_per_task;
  const int64_t channels = min_of(d.channels_per_task, d.channels - c0);
  for (int64_t k = k0; k < k1; ++k) {
    T* to = dw + ((group * d.filters + k) * d.channels + c0) * d.taps;
    const T* from = own + (k - k0) * d.cols;
    int col = 0;
    for (int64_t c = 0; c < channels; ++c, to += d.taps)
      for (int64_t t = 0; t < s.s; ++t)
        for (int64_t r = 0; r < s.r; ++r) {
          to[r * s.s + t] = from[col];
          if (++col == d.cols) col = 0, from += d.tile;
        }
  }
}

}  // namespace

// Shares of the multiply-add peak, estimated from measurements: idle lanes at the end of an image and the
// planes' filling here, idle lanes of filters and dy's transposition in grad_weight.cpp.
template <class T>
bool few_channels_pays(const ConvShape& s) {
  const auto lanes = [](int64_t n) {
    return static_cast<double>(n) / static_cast<double>(round_up(n, Vec<T>::N));
  };
  const double filters = static_cast<double>(s.k / s.groups),
               taps = static_cast<double>(s.c / s.groups * s.r * s.s);
  return 0.75 * lanes(s.p * s.q) * filters / (filters + 3) > lanes(s.k / s.groups) * taps / (taps + 15);
}

template <class T>
Status few_channels_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const DotPlan<T> d = plan_dot<T>(s);
  const int64_t parts = s.groups * d.channel_blocks;
  T* const sums =
      workspace<T>(ctx, static_cast<size_t>(d.splits * parts * d.sums + ctx.threads * d.per_worker));
  if (!sums) return Status::need_workspace;
  const Status summed = parallel_for(ctx, d.splits * parts, d.nanoseconds, [&](int64_t task, int worker) {
    const int64_t split = task / parts, part = task - split * parts;
    const int64_t group = part / d.channel_blocks,
                  c0 = (part - group * d.channel_blocks) * d.channels_per_task;
    const int64_t channels = min_of(d.channels_per_task, d.channels - c0);
    const DotScratch<T> own(d, sums + d.splits * parts * d.sums + worker * d.per_worker);
    int64_t* tap = own.tap;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < s.s; ++t)
        for (int64_t r = 0; r < s.r; ++r) *tap++ = c * d.planes.channel + tap_offset(s, d.planes, r, t);
    const T* x = static_cast<const T*>(params.x) + (group * d.channels + c0) * s.h * s.w;
    const T* dy = static_cast<const T*>(params.dy) + group * d.filters * s.p * s.q;
    const int64_t per_split = ceil_div(d.blocks, d.splits), begin = split * per_split;
    for (int64_t block = begin; block < min_of(begin + per_split, d.blocks); ++block)
      dot_block(s, d, x, dy, block, channels, block > begin, own, sums + task * d.sums);
  });
  if (summed != Status::ok) return summed;
  return parallel_for(ctx, parts * d.filter_tiles,
                      static_cast<double>(d.splits * parts * d.sums) / kVectorBytes, [&](int64_t task, int) {
                        const int64_t part = task / d.filter_tiles;
                        combine_dots(s, d, sums, part / d.channel_blocks, part % d.channel_blocks,
                                     task % d.filter_tiles, static_cast<T*>(params.out));
                      });
}

template bool few_channels_pays<float>(const ConvShape& s);
template bool few_channels_pays<double>(const ConvShape& s);
template Status few_channels_grad_weight<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status few_channels_grad_weight<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
