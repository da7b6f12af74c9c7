// The gradient of the filters: dw[k][(c, r, s)] = sum over images and output pixels of dy[n][k][p][q] *
// x[n][c][tap (r, s)].
//
// A product with a very long inner dimension (all pixels) and a small result, so the result stays in
// registers and cache and the pixels stream by. Filters lie along the vectors: dy is transposed into panels
// of pixels x filters, while elements of x are read by broadcast from where they are, so that no patch of x
// is ever copied out. (The other way round, vectors along (c, r, s), every pixel's patch has to be gathered
// from rows of s elements; and dot products along the pixels fit neither rows of 8 or 14 pixels nor a sum in
// registers over all images.) Where x is padded, a slab of the rows that a block of pixels meets is copied
// with its zeros first: one copy serves all filters and taps.
//
// Filters of one tap that meet every pixel once are a product in which x and dy may change places: the one
// with fewer planes is transposed, and sums lie as the gradient does.
//
// Blocks of images are summed separately, how many depends on the shape alone, and added in order at the end:
// the bits do not depend on the number of threads.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/shape.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/pack.h"
#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

// Rows of a tile of the gradient: each has a pointer into x of its own, so general registers are the limit.
constexpr int grad_rows(int vectors) {
  const int rows = max_rows(vectors);
  return rows < 8 ? rows : 8;
}

struct PixelRun {
  int64_t x;    // offset of the first pixel's first tap
  int64_t len;  // pixels
};

template <class T>
struct GradTile {
  const T* x;
  const int64_t* tap;  // offset of each row's tap
  int64_t step;        // from one pixel to the next
  const PixelRun* run;
  int runs;
  const T* dy;  // pixels x width
  int64_t width;
  T* sum;  // rows x width
  bool accumulate;
};

template <class T, int MR, int NV>
void run_grad_tile(const GradTile<T>& t) {
  using V = Vec<T>;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[i][j] = V(T(0));
  const T* dy = t.dy;
  const int64_t step = t.step, width = t.width;
  for (int k = 0; k < t.runs; ++k) {
    const T* x[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) x[i] = t.x + t.run[k].x + t.tap[i];
    const int64_t end = t.run[k].len * step;
    for (int64_t at = 0; at < end; at += step, dy += width) {
      V row[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) row[j] = V::load(dy + j * V::N);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const V a(x[i][at]);
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(a, row[j], acc[i][j]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      T* sum = t.sum + i * width + j * V::N;
      (t.accumulate ? V::load(sum) + acc[i][j] : acc[i][j]).store(sum);
    }
}

template <class T, int NV, int MR = grad_rows(NV)>
FASTNN_INLINE void grad_tile_rows(GradTile<T> t, int rows) {
  if constexpr (tile_height<T>(MR, grad_rows(NV)) == MR)
    for (; rows >= MR; rows -= MR, t.tap += MR, t.sum += MR * t.width) run_grad_tile<T, MR, NV>(t);
  if constexpr (MR > 1) grad_tile_rows<T, NV, MR - 1>(t, rows);
}
template <class T, int NV = 1>
void grad_tile(const GradTile<T>& t, int rows) {
  if (t.width == NV * Vec<T>::N) return grad_tile_rows<T, NV>(t, rows);
  if constexpr (NV < kMaxVectors) grad_tile<T, NV + 1>(t, rows);
}

// Pixels of a block: deep enough to make light of loading and storing the sums; 64 KB of dy.
constexpr int64_t kBlockPixels = 256;
constexpr int64_t kBlockTaps = 1024;  // rows of one task's sums: 256 KB at most, in L2

// How the gradient is cut; a function of shapes alone. A task sums a part of the pixels for one panel of
// filters and some channels.
template <class T>
struct GradPlan {
  ConvShape s;
  bool swapped;                  // s has dy in place of x, filters in place of channels
  int64_t filters, channels;     // per group
  int64_t width, filter_panels;  // filters of a panel, in whole vectors
  int64_t channels_per_task, channel_blocks;
  int64_t pixels, block_pixels, blocks;  // pixels of all images; blocks of them
  int64_t splits, blocks_per_split;
  bool padded;
  int64_t slab_rows, slab_cols, slab_images;  // of padded x, for one block
  int64_t taps, sums;                         // channels * r * s per group; elements of one split's sums
  int64_t tap_offsets, per_worker;            // of scratch
  double nanoseconds;
};

// For a flattened shape.
template <class T>
bool swap_pays(const ConvShape& s) {
  const bool product = s.h == 1 && s.r == 1 && s.s == 1 && s.q == s.w && s.pad_h == 0 && s.pad_w == 0;
  return product && s.k > s.c && s.c / s.groups % Vec<T>::N == 0;
}

template <class T>
GradPlan<T> plan_grad(const ConvShape& shape) {
  using B = Blocking<T>;
  GradPlan<T> g{};
  g.s = shape, g.swapped = swap_pays<T>(shape);
  if (g.swapped) g.s.c = shape.k, g.s.k = shape.c;
  const ConvShape& s = g.s;
  g.filters = s.k / s.groups, g.channels = s.c / s.groups;
  g.filter_panels = ceil_div(g.filters, B::NR);
  g.width = round_up(ceil_div(g.filters, g.filter_panels), Vec<T>::N);
  g.channels_per_task = max_of(kBlockTaps / (s.r * s.s), 1);
  g.channel_blocks = ceil_div(g.channels, g.channels_per_task);
  g.channels_per_task = ceil_div(g.channels, g.channel_blocks);
  g.taps = g.channels * s.r * s.s;
  g.pixels = s.n * s.p * s.q;
  g.block_pixels = kBlockPixels;
  g.blocks = ceil_div(g.pixels, g.block_pixels);
  const int64_t tasks = s.groups * g.filter_panels * g.channel_blocks;
  const int64_t splits = min_of(ceil_div(kConvTasks, tasks), ceil_div(g.blocks, 4));
  g.blocks_per_split = ceil_div(g.blocks, splits);
  g.splits = ceil_div(g.blocks, g.blocks_per_split);
  g.sums = s.groups * g.filter_panels * g.taps * g.width;

  g.padded = s.pad_h > 0 || s.pad_w > 0;
  int64_t slab = 0;
  if (g.padded) {
    const int64_t lines = g.block_pixels / s.q + 2;  // output rows of one image that a block can touch
    const int64_t rows = min_of(lines, s.p);
    g.slab_rows = (rows - 1) * s.stride_h + (s.r - 1) * s.dilation_h + 1;
    g.slab_cols = (s.q - 1) * s.stride_w + (s.s - 1) * s.dilation_w + 1;
    const int64_t images = g.block_pixels / (s.p * s.q) + 2;
    g.slab_images = min_of(images, s.n);
    slab = g.slab_images * g.channels_per_task * g.slab_rows * g.slab_cols;
  }
  g.tap_offsets = round_up(g.channels_per_task * s.r * s.s, 8);
  g.per_worker = g.block_pixels * g.width +
                 g.tap_offsets * static_cast<int64_t>(sizeof(int64_t) / sizeof(T)) + round_up(slab, 16);
  g.nanoseconds = static_cast<double>(g.pixels) * static_cast<double>(g.sums) / (2.0 * kVectorBytes);
  return g;
}

// Copies the rows of image n that output rows [p0, p1) meet, channels [c0, c1), into a slab with zeros for
// the padding.
template <class T>
void fill_slab(const GradPlan<T>& g, const T* x, int64_t n, int64_t c0, int64_t c1, int64_t p0, int64_t p1,
               T* slab) {
  const ConvShape& s = g.s;
  const int64_t rows = (p1 - p0 - 1) * s.stride_h + (s.r - 1) * s.dilation_h + 1;
  const int64_t end = min_of(s.w + s.pad_w, g.slab_cols);
  for (int64_t c = c0; c < c1; ++c, slab += g.slab_rows * g.slab_cols)
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t line = p0 * s.stride_h - s.pad_h + i;
      T* to = slab + i * g.slab_cols;
      if (line < 0 || line >= s.h || end <= s.pad_w) {
        for (int64_t j = 0; j < g.slab_cols; ++j) to[j] = T(0);
        continue;
      }
      const T* from = x + ((n * s.c + c) * s.h + line) * s.w;
      for (int64_t j = 0; j < s.pad_w; ++j) to[j] = T(0);
      int64_t j = s.pad_w;
      for (; j + Vec<T>::N <= end; j += Vec<T>::N) Vec<T>::load(from + j - s.pad_w).store(to + j);
      for (; j < end; ++j) to[j] = from[j - s.pad_w];
      for (; j < g.slab_cols; ++j) to[j] = T(0);
    }
}

// One block of pixels: dy's panel, where each run of pixels starts in x (or its slab), and the tiles over all
// taps.
template <class T>
struct GradTask {
  const GradPlan<T>& g;
  const T *x, *dy;
  int64_t group, filter0, filters;  // within the group
  int64_t c0, c1;                   // channels within the group
  T *panel, *slab;
  int64_t* tap;
  T* sum;

  void set_taps() {
    const ConvShape& s = g.s;
    const int64_t row = g.padded ? g.slab_cols : s.w,
                  plane = g.padded ? g.slab_rows * g.slab_cols : s.h * s.w;
    int64_t k = 0;
    for (int64_t c = 0; c < c1 - c0; ++c)
      for (int64_t r = 0; r < s.r; ++r)
        for (int64_t t = 0; t < s.s; ++t) tap[k++] = c * plane + r * s.dilation_h * row + t * s.dilation_w;
  }

  void run_block(int64_t first, int64_t count, bool accumulate) {
    const ConvShape& s = g.s;
    const int64_t channel0 = group * g.channels + c0, pq = s.p * s.q;
    PixelRun run[kBlockPixels];
    int runs = 0;
    int64_t slabs = 0;
    for (int64_t l = first; l < first + count;) {  // images
      const int64_t n = l / pq, in_image = l - n * pq;
      const int64_t len = min_of(pq - in_image, first + count - l);
      pack_panels(panel + (l - first) * g.width, static_cast<int>(g.width),
                  dy + (n * s.k + group * g.filters + filter0) * pq + in_image, pq, 1, filters, len);
      const int64_t p0 = in_image / s.q, p1 = (in_image + len - 1) / s.q + 1;
      const int64_t slab_size = (c1 - c0) * g.slab_rows * g.slab_cols;
      if (g.padded) fill_slab(g, x, n, channel0, channel0 + c1 - c0, p0, p1, slab + slabs * slab_size);
      const int64_t base = g.padded ? slabs++ * slab_size : (n * s.c + channel0) * s.h * s.w;
      for (int64_t at = in_image; at < in_image + len;) {
        const int64_t p = at / s.q, q = at - p * s.q;
        const int64_t part = min_of(s.q - q, in_image + len - at);
        const int64_t row = g.padded ? (p - p0) * s.stride_h * g.slab_cols : p * s.stride_h * s.w;
        run[runs++] = {base + row + q * s.stride_w, part};
        at += part;
      }
      l += len;
    }
    const int64_t rows = (c1 - c0) * s.r * s.s;
    const int tile = tile_rows<T>(rows, grad_rows(static_cast<int>(g.width / Vec<T>::N)));
    for (int64_t i = 0; i < rows; i += tile) {
      if (g.swapped) prefetch_rows(x + run[0].x, tap + i + tile, min_of(tile, rows - i - tile), run[0].len);
      grad_tile(GradTile<T>{.x = g.padded ? slab : x,
                            .tap = tap + i,
                            .step = s.stride_w,
                            .run = run,
                            .runs = runs,
                            .dy = panel,
                            .width = g.width,
                            .sum = sum + i * g.width,
                            .accumulate = accumulate},
                static_cast<int>(min_of(tile, rows - i)));
    }
  }

  // Rows that are read once, by broadcast, come from memory.
  static void prefetch_rows(const T* x, const int64_t* tap, int64_t rows, int64_t len) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < len; j += 64 / static_cast<int64_t>(sizeof(T)))
        __builtin_prefetch(x + tap[i] + j);
  }
};

// Adds the splits' sums in order and turns them round: dw[k][taps] from sums[taps][k]. A task is some taps of
// a panel.
template <class T>
void combine_sums(const GradPlan<T>& g, T* sums, int64_t panel, int64_t tap0, int64_t taps, T* dw) {
  using V = Vec<T>;
  const int64_t group = panel / g.filter_panels, filter0 = (panel - group * g.filter_panels) * g.width;
  const int64_t filters = min_of(g.width, g.filters - filter0);
  T* own = sums + (panel * g.taps + tap0) * g.width;
  for (int64_t i = 0; i < taps * g.width; i += V::N) {
    V sum = V::load(own + i);
    for (int64_t split = 1; split < g.splits; ++split) sum = sum + V::load(own + split * g.sums + i);
    sum.store(own + i);
  }
  if (g.swapped) {
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t k = 0; k < filters; k += V::N)
        V::load(own + t * g.width + k)
            .store_n(dw + (group * g.taps + tap0 + t) * g.filters + filter0 + k,
                     static_cast<int>(min_of(V::N, filters - k)));
    return;
  }
  T* out = dw + (group * g.filters + filter0) * g.taps + tap0;
  for (int64_t t0 = 0; t0 < taps; t0 += V::N) {
    const int lanes = static_cast<int>(min_of(V::N, taps - t0));
    for (int64_t k0 = 0; k0 < filters; k0 += V::N) {
      V row[V::N];
#pragma GCC unroll 16
      for (int t = 0; t < V::N; ++t) row[t] = t < lanes ? V::load(own + (t0 + t) * g.width + k0) : V(T(0));
      transpose(row);
#pragma GCC unroll 16
      for (int k = 0; k < V::N; ++k)
        if (k0 + k < filters) row[k].store_n(out + (k0 + k) * g.taps + t0, lanes);
    }
  }
}

}  // namespace

template <class T>
Status panel_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& shape) {
  T* dw = static_cast<T*>(params.out);
  const GradPlan<T> g = plan_grad<T>(shape);
  const ConvShape& s = g.s;
  T* const sums = workspace<T>(ctx, g.splits * g.sums + ctx.threads * g.per_worker);
  if (!sums) return Status::need_workspace;
  T* const own = sums + g.splits * g.sums;

  const int64_t panels = s.groups * g.filter_panels;
  const Status summed =
      parallel_for(ctx, panels * g.channel_blocks * g.splits, g.nanoseconds, [&](int64_t task, int worker) {
        const int64_t split = task % g.splits, rest = task / g.splits;
        const int64_t panel = rest / g.channel_blocks, block = rest - panel * g.channel_blocks;
        const int64_t group = panel / g.filter_panels, filter0 = (panel - group * g.filter_panels) * g.width;
        const int64_t filters = min_of(g.width, g.filters - filter0);
        const int64_t c0 = block * g.channels_per_task;
        const int64_t c1 = min_of(c0 + g.channels_per_task, g.channels);
        T* const dy_panel = own + worker * g.per_worker;
        int64_t* const tap = reinterpret_cast<int64_t*>(dy_panel + g.block_pixels * g.width);
        T* const slab = reinterpret_cast<T*>(tap + g.tap_offsets);
        GradTask<T> t{
            .g = g,
            .x = static_cast<const T*>(g.swapped ? params.dy : params.x),
            .dy = static_cast<const T*>(g.swapped ? params.x : params.dy),
            .group = group,
            .filter0 = filter0,
            .filters = filters,
            .c0 = c0,
            .c1 = c1,
            .panel = dy_panel,
            .slab = slab,
            .tap = tap,
            .sum = sums + split * g.sums + (panel * g.taps + c0 * s.r * s.s) * g.width,
        };
        t.set_taps();
        const int64_t begin = split * g.blocks_per_split * g.block_pixels;
        const int64_t end = min_of(begin + g.blocks_per_split * g.block_pixels, g.pixels);
        for (int64_t first = begin; first < end; first += g.block_pixels)
          t.run_block(first, min_of(g.block_pixels, end - first), first > begin);
      });
  if (summed != Status::ok) return summed;

  constexpr int64_t kTapsPerTask = 64;
  const int64_t parts = ceil_div(g.taps, kTapsPerTask);
  return parallel_for(ctx, panels * parts, static_cast<double>(g.splits * g.sums) / kVectorBytes,
                      [&](int64_t task, int) {
                        const int64_t panel = task / parts, tap0 = (task - panel * parts) * kTapsPerTask;
                        combine_sums(g, sums, panel, tap0, min_of(kTapsPerTask, g.taps - tap0), dw);
                      });
}

template Status panel_grad_weight<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status panel_grad_weight<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
