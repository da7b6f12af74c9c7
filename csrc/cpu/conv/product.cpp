// Convolution as a product with panels of pixels: forward, and the input gradient phase by phase. Filters are
// packed once per call for the micro-kernel's broadcasts; each task packs its own panels of pixels, a block
// of depth KC at a time, and runs all its filters over them while they are in cache. No image ever exists
// unfolded.
//
// Roles are swapped against the usual: filters are rows and are broadcast, and vectors run along the pixels
// of an image, so that NCHW is read and written as it lies.
#include "backend/conv_phases.h"
#include "cpu/conv/algorithms.h"
#include "cpu/conv/panel.h"
#include "cpu/gemm/tile.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {
namespace {

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
  plan.rows = tile_rows<T>(p.filters, B::MR);
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
  const int64_t height = min_of(plan.rows, p.filters - m0);
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
  const int count = static_cast<int>(min_of(NR, g.pixels() - first));
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
      const int height = static_cast<int>(min_of(plan.rows, p.filters - m));
      const Epilogue<T> finish{.row_bias = p.bias ? p.bias + group * p.filters + m : nullptr,
                               .relu = p.relu,
                               .stream = plan.stream && dense};
      const Tile<T> product{
          .k = (next - unit) * g.taps_w,
          .a = packed_w + ((group * plan.row_tiles + t) * g.depth() + unit * g.taps_w) * plan.rows,
          .rs_a = 1,
          .cs_a = plan.rows,
          .b = b,
          .ldb = NR,
          .packed_b = true,
          .c = c + (m - tile0 * plan.rows) * ldc,
          .ldc = ldc,
          .accumulate = unit > begin,
          .epilogue = next == end ? &finish : nullptr,
      };
      micro_kernel(product, height, count);
    }
    unit = next;
  } while (unit < end);
  if (!dense) {
    const int64_t m1 = min_of(tile1 * plan.rows, p.filters);
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
  return parallel_for(ctx, p.groups * plan.row_blocks * plan.panel_tasks, plan.nanoseconds,
                      [&](int64_t task, int worker) {
                        const int64_t part = task % plan.panel_tasks, block = task / plan.panel_tasks;
                        const int64_t group = block / plan.row_blocks,
                                      tile0 = (block - group * plan.row_blocks) * plan.tiles_per_block;
                        const int64_t tile1 = min_of(tile0 + plan.tiles_per_block, plan.row_tiles);
                        const int64_t end = min_of((part + 1) * plan.panels_per_task, plan.panels);
                        T* const own = scratch + plan.packed_w + worker * plan.per_worker;
                        for (int64_t panel = part * plan.panels_per_task; panel < end; ++panel)
                          multiply_panel(p, plan, group, tile0, tile1, panel, packed_w, own);
                        if (plan.stream) stream_end();
                      });
}

// The pixels (a + i stride_h, b + j stride_w) of dx.
template <class T>
ConvProduct<T> grad_input_phase(const ConvParams& params, const ConvShape& s, int64_t a, int64_t b) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  const Phase row = phase_of(a, s.h, s.stride_h, s.pad_h, s.dilation_h, s.r);
  const Phase col = phase_of(b, s.w, s.stride_w, s.pad_w, s.dilation_w, s.s);
  ConvProduct<T> p{};
  // Where much of dy's surroundings is padding, images take turns by rows: a panel then leaves out whole rows
  // of taps.
  int64_t interleave = 1;
  if (s.n > 1 && col.pixels > 0 && share_inside(row, s.p) < 0.85) {
    interleave = min_of(ceil_div(4 * Blocking<T>::NR, col.pixels), s.n);
  }
  p.grid = {
      .images = s.n,
      .rows = row.pixels,
      .cols = col.pixels,
      .interleave = interleave,
      .source = static_cast<const T*>(params.dy),
      .channels = filters,
      .height = s.p,
      .width = s.q,
      .image_step = s.k * s.p * s.q,
      .taps_h = row.taps,
      .taps_w = col.taps,
      .stride_h = 1,
      .stride_w = 1,
      .row0 = row.start,
      .row_step = row.move,
      .col0 = col.start,
      .col_step = col.move,
  };
  p.groups = s.groups, p.source_group = filters * s.p * s.q, p.filters = channels;
  p.w = static_cast<const T*>(params.w) + row.first * s.s + col.first;
  p.w_group = filters * channels * s.r * s.s, p.w_filter = s.r * s.s, p.w_channel = channels * s.r * s.s;
  p.w_row = row.step * s.s, p.w_col = col.step;
  p.out = static_cast<T*>(params.out) + a * s.w + b;
  p.out_image = s.c * s.h * s.w, p.out_group = channels * s.h * s.w, p.out_filter = s.h * s.w;
  p.out_row = s.stride_h * s.w, p.out_col = s.stride_w;
  return p;
}

}  // namespace

template <class T>
ConvProduct<T> forward_product(const ConvParams& params, const ConvShape& s) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  ConvProduct<T> p{};
  p.grid = {
      .images = s.n,
      .rows = s.p,
      .cols = s.q,
      .interleave = 1,
      .source = static_cast<const T*>(params.x),
      .channels = channels,
      .height = s.h,
      .width = s.w,
      .image_step = s.c * s.h * s.w,
      .taps_h = s.r,
      .taps_w = s.s,
      .stride_h = s.stride_h,
      .stride_w = s.stride_w,
      .row0 = -s.pad_h,
      .row_step = s.dilation_h,
      .col0 = -s.pad_w,
      .col_step = s.dilation_w,
  };
  p.groups = s.groups, p.source_group = channels * s.h * s.w, p.filters = filters;
  p.w = static_cast<const T*>(params.w);
  p.w_group = filters * channels * s.r * s.s, p.w_filter = channels * s.r * s.s, p.w_channel = s.r * s.s,
  p.w_row = s.s, p.w_col = 1;
  p.bias = static_cast<const T*>(params.bias), p.relu = params.activation == Activation::relu;
  p.out = static_cast<T*>(params.out);
  p.out_image = s.k * s.p * s.q, p.out_group = filters * s.p * s.q, p.out_filter = s.p * s.q, p.out_row = s.q,
  p.out_col = 1;
  return p;
}

template ConvProduct<float> forward_product(const ConvParams& params, const ConvShape& s);
template ConvProduct<double> forward_product(const ConvParams& params, const ConvShape& s);

template <class T>
Status product_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const ConvProduct<T> p = forward_product<T>(params, s);
  const ConvPlan<T> plan = plan_product(p);
  T* scratch = workspace<T>(ctx, scratch_of(ctx, plan));
  if (!scratch) return Status::need_workspace;
  return run_product(ctx, p, plan, scratch);
}

template <class T>
Status product_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  int64_t most = 0;
  for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
    for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
      most = max_of(most, scratch_of(ctx, plan_product(grad_input_phase<T>(params, s, a, b))));
    }
  T* scratch = workspace<T>(ctx, most);
  if (!scratch) return Status::need_workspace;
  for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
    for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
      const ConvProduct<T> p = grad_input_phase<T>(params, s, a, b);
      const Status status =
          is_depthwise(p) ? run_depthwise(ctx, p) : run_product(ctx, p, plan_product(p), scratch);
      if (status != Status::ok) return status;
    }
  return Status::ok;
}

template Status product_forward<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status product_forward<double>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status product_grad_input<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status product_grad_input<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
