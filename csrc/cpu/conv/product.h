// The product that a convolution is: out[n][m] = act(W[m][(r, c, s)] x panel[(r, c, s)][pixels of n] +
// bias[m]), for every m and every pixel of a PixelGrid. Filters are packed once per call for the
// micro-kernel's broadcasts; each task packs its own panels of pixels, a block of depth KC at a time, and
// runs all its filters over them while they are in cache. No image ever exists unfolded.
#pragma once
#include "backend/kernel_table.h"
#include "cpu/conv/panel.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct ConvProduct {
  PixelGrid<T> grid;             // of the first group
  int64_t groups, source_group;  // groups and the distance between their channels in source
  int64_t filters;               // per group
  // Element (group, m, r, c, s) of the weights; the taps of a phase may be some of the filter's, hence steps
  // of their own.
  const T* w;
  int64_t w_group, w_filter, w_row, w_channel, w_col;
  const T* bias;  // groups * filters, or null
  bool relu;
  T* out;  // element (n, group, m, i, j)
  int64_t out_image, out_group, out_filter, out_row, out_col;
};

// How a product is cut; a function of shapes alone.
template <class T>
struct ConvPlan {
  int rows;           // of a tile of filters
  int64_t row_tiles;  // per group
  int64_t units;      // per block of depth: a unit is the taps_w taps of one tap row and channel
  int64_t panels, panels_per_task, panel_tasks;
  int64_t row_blocks, tiles_per_block;
  int64_t packed_w, per_worker;  // elements of scratch
  bool stream;                   // the output goes past the caches
  double nanoseconds;
};

template <class T>
ConvPlan<T> plan_product(const ConvProduct<T>& p) {
  using B = Blocking<T>;
  ConvPlan<T> plan{};
  const PixelGrid<T>& g = p.grid;
  const int64_t units = g.taps_h * g.channels, depth = g.depth();
  plan.rows = even_rows(p.filters, B::MR);
  plan.row_tiles = ceil_div(p.filters, plan.rows);
  const int64_t blocks = depth > B::KC ? ceil_div(depth, B::KC) : 1;
  plan.units = units > 0 ? ceil_div(units, blocks) : 0;
  plan.panels = ceil_div(g.pixels(), B::NR);

  const double panel_fmas = static_cast<double>(p.filters) * B::NR * static_cast<double>(depth + 8);
  plan.panels_per_task = static_cast<int64_t>(kConvTaskFmas / panel_fmas) + 1;
  plan.panel_tasks = ceil_div(plan.panels, plan.panels_per_task);
  // With few pixels the filters are shared out too, and each of their blocks packs the panel again.
  const int64_t tasks = plan.panel_tasks * p.groups;
  const int64_t wanted = tasks > 0 ? ceil_div(kConvTasks, tasks) : 1;
  const int64_t possible = plan.panels_per_task == 1 && plan.row_tiles > 4 ? ceil_div(plan.row_tiles, 4) : 1;
  plan.tiles_per_block = ceil_div(plan.row_tiles, wanted < possible ? wanted : possible);
  plan.row_blocks = plan.tiles_per_block > 0 ? ceil_div(plan.row_tiles, plan.tiles_per_block) : 0;

  plan.packed_w = round_up(p.groups * plan.row_tiles * plan.rows * depth, 16);
  plan.per_worker =
      round_up((plan.units * g.taps_w + 1) * B::NR, 16) + plan.tiles_per_block * plan.rows * B::NR;
  plan.stream = kVectorBytes >= 32 &&
                g.pixels() * p.groups * p.filters * static_cast<int64_t>(sizeof(T)) >= kStreamBytes;
  plan.nanoseconds = panel_fmas * static_cast<double>(plan.panels * p.groups) / (2.0 * kVectorBytes);
  return plan;
}

// Filters in tiles of plan.rows, the rows of a tile side by side, depth in the panel's order (r, c, s).
template <class T>
void pack_filters(const ConvProduct<T>& p, const ConvPlan<T>& plan, int64_t tile, T* packed) {
  const PixelGrid<T>& g = p.grid;
  const int64_t group = tile / plan.row_tiles, m0 = (tile - group * plan.row_tiles) * plan.rows;
  const int64_t height = p.filters - m0 < plan.rows ? p.filters - m0 : plan.rows;
  T* out = packed + tile * plan.rows * g.depth();
  for (int64_t m = 0; m < height; ++m) {
    const T* filter = p.w + group * p.w_group + (m0 + m) * p.w_filter;
    T* to = out + m;
    for (int64_t r = 0; r < g.taps_h; ++r)
      for (int64_t c = 0; c < g.channels; ++c) {
        const T* from = filter + r * p.w_row + c * p.w_channel;
        for (int64_t s = 0; s < g.taps_w; ++s, to += plan.rows) *to = from[s * p.w_col];
      }
  }
}

// Copies tiles of NR pixels from scratch to where their runs lie in out.
template <class T>
void scatter_runs(const ConvProduct<T>& p, const Run* run, int runs, const T* tile, T* out, int64_t filters) {
  constexpr int N = Vec<T>::N, NR = Blocking<T>::NR;
  for (int k = 0; k < runs; ++k) {
    T* to = out + run[k].n * p.out_image + run[k].i * p.out_row + run[k].j * p.out_col;
    const T* from = tile + run[k].at;
    for (int64_t m = 0; m < filters; ++m, to += p.out_filter, from += NR) {
      if (p.out_col == 1) {
        int j = 0;
        for (; j + N <= run[k].len; j += N) Vec<T>::load(from + j).store(to + j);
        if (j < run[k].len) Vec<T>::load_n(from + j, run[k].len - j).store_n(to + j, run[k].len - j);
      } else {
        for (int j = 0; j < run[k].len; ++j) to[j * p.out_col] = from[j];
      }
    }
  }
}

// One panel of pixels with the tiles of filters [tile0, tile1) of a group.
template <class T>
void multiply_panel(const ConvProduct<T>& p, const ConvPlan<T>& plan, int64_t group, int64_t tile0,
                    int64_t tile1, int64_t panel, const T* packed_w, T* scratch) {
  constexpr int NR = Blocking<T>::NR;
  PixelGrid<T> g = p.grid;
  g.source += group * p.source_group;
  const int64_t first = panel * NR;
  const int count = static_cast<int>(g.pixels() - first < NR ? g.pixels() - first : NR);
  Run run[NR];
  const int runs = find_runs(g, first, count, run);

  TapRange taps{g.taps_h, 0};
  for (int k = 0; k < runs; ++k) {
    const TapRange in = taps_inside(run[k].i * g.stride_h + g.row0, g.row_step, g.taps_h, g.height);
    if (in.begin < taps.begin) taps.begin = in.begin;
    if (in.end > taps.end) taps.end = in.end;
  }
  if (taps.end < taps.begin) taps.end = taps.begin;

  // Pixels of one image that follow each other in memory are written by the micro-kernel itself.
  const bool dense = run[0].n == run[runs - 1].n &&
                     (runs == 1 || (g.interleave == 1 && p.out_row == g.cols)) && p.out_col == 1;
  T* const b = scratch;
  T* const tiles = scratch + round_up((plan.units * g.taps_w + 1) * NR, 16);
  T* const out = p.out + group * p.out_group + tile0 * plan.rows * p.out_filter;
  T* const c = dense ? out + run[0].n * p.out_image + run[0].i * p.out_row + run[0].j : tiles;
  const int64_t ldc = dense ? p.out_filter : NR;

  const int64_t end = taps.end * g.channels;
  int64_t unit = taps.begin * g.channels;
  const int64_t begin = unit;
  do {
    const int64_t next = end - unit < plan.units ? end : unit + plan.units;
    pack_pixels(g, run, runs, count, unit, next, b);
    for (int64_t t = tile0; t < tile1; ++t) {
      const int64_t m = t * plan.rows;
      const int height = static_cast<int>(p.filters - m < plan.rows ? p.filters - m : plan.rows);
      const Epilogue<T> finish{nullptr, p.bias ? p.bias + group * p.filters + m : nullptr, p.relu,
                               plan.stream && dense};
      const T* a = packed_w + ((group * plan.row_tiles + t) * g.depth() + unit * g.taps_w) * plan.rows;
      micro_kernel(
          Tile<T>{(next - unit) * g.taps_w, a, 1, plan.rows, b, NR, true, c + (m - tile0 * plan.rows) * ldc,
                  ldc, unit > begin, next == end ? &finish : nullptr},
          height, count);
    }
    unit = next;
  } while (unit < end);
  if (!dense) {
    const int64_t m1 = tile1 * plan.rows < p.filters ? tile1 * plan.rows : p.filters;
    scatter_runs(p, run, runs, tiles, out, m1 - tile0 * plan.rows);
  }
}

template <class T>
int64_t scratch_of(const Context& ctx, const ConvPlan<T>& plan) {
  return plan.packed_w + ctx.threads * plan.per_worker;
}

template <class T>
Status run_product(Context& ctx, const ConvProduct<T>& p, const ConvPlan<T>& plan, T* scratch) {
  if (p.filters == 0 || plan.panels == 0) return Status::ok;
  T* const packed_w = scratch;
  const Status packed = parallel_for(ctx, p.groups * plan.row_tiles, static_cast<double>(plan.packed_w),
                                     [&](int64_t tile, int) { pack_filters(p, plan, tile, packed_w); });
  if (packed != Status::ok) return packed;
  return parallel_for(
      ctx, p.groups * plan.row_blocks * plan.panel_tasks, plan.nanoseconds, [&](int64_t task, int worker) {
        const int64_t part = task % plan.panel_tasks, block = task / plan.panel_tasks;
        const int64_t group = block / plan.row_blocks,
                      tile0 = (block - group * plan.row_blocks) * plan.tiles_per_block;
        const int64_t tile1 =
            tile0 + plan.tiles_per_block < plan.row_tiles ? tile0 + plan.tiles_per_block : plan.row_tiles;
        const int64_t end =
            (part + 1) * plan.panels_per_task < plan.panels ? (part + 1) * plan.panels_per_task : plan.panels;
        T* const own = scratch + plan.packed_w + worker * plan.per_worker;
        for (int64_t panel = part * plan.panels_per_task; panel < end; ++panel)
          multiply_panel(p, plan, group, tile0, tile1, panel, packed_w, own);
        if (plan.stream) stream_end();
      });
}

}  // namespace fastnn::FASTNN_ISA
