// The gradient of 3x3 filters that step by one by Winograd's algorithm, the transpose of winograd.cpp:
//
//     V[f][tile][channel]    of x, Y[f][tile][filter] of dy, for a block of tiles
//     P[f][filter][channel] = sum over tiles of Y[f]' V[f]
//
// dw is what P becomes in the end. A task sums a part of the blocks for some filters and channels, few
// enough that P stays in L2; parts are added in order, how many depends on the shape alone.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/winograd_tiles.h"
#include "cpu/gemm/tile.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kWinogradFilters = 64, kWinogradChannels = 128;  // of a task

template <class T>
struct WinogradGradPlan {
  TileGrid grid;
  int64_t filters, channels;            // per group
  int64_t filter_parts, channel_parts;  // of a group
  int64_t part_filters, part_channels;  // of a task
  int64_t splits, split_blocks;         // parts of the blocks of tiles
  int64_t x_step, y_step, sum_step;     // from one point to the next
  int64_t slab, sums, per_worker;       // elements of scratch; sums of one task
  double nanoseconds;
};

template <class T>
WinogradGradPlan<T> plan_winograd_grad(const ConvShape& s, int64_t tile) {
  WinogradGradPlan<T> g{};
  g.grid = tile_grid(tile, s.n, s.p, s.q);
  g.filters = s.k / s.groups, g.channels = s.c / s.groups;
  g.filter_parts = ceil_div(g.filters, kWinogradFilters);
  g.part_filters = ceil_div(g.filters, g.filter_parts);
  g.channel_parts = ceil_div(g.channels, kWinogradChannels);
  g.part_channels = round_up(ceil_div(g.channels, g.channel_parts), Vec<T>::N);
  g.channel_parts = ceil_div(g.channels, g.part_channels);
  const int64_t tasks = s.groups * g.filter_parts * g.channel_parts;
  g.split_blocks = ceil_div(g.grid.blocks, min_of(ceil_div(kConvTasks, tasks), g.grid.blocks));
  g.splits = ceil_div(g.grid.blocks, g.split_blocks);
  const int64_t points = g.grid.points(), tiles = g.grid.block_tiles();
  g.x_step = point_step<T>(tiles * padded_channels<T>(g.part_channels));
  g.y_step = point_step<T>(tiles * padded_channels<T>(g.part_filters));
  g.sum_step = point_step<T>(g.part_filters * padded_channels<T>(g.part_channels));
  g.slab = round_up(max_of(slab_elements<T>(g.grid, tile + 2, g.part_channels),
                           slab_elements<T>(g.grid, tile, g.part_filters)),
                    16);
  g.sums = points * g.sum_step;
  g.per_worker = g.slab + points * (g.x_step + g.y_step);
  g.nanoseconds = static_cast<double>(g.grid.blocks * tiles * points) *
                  static_cast<double>(s.k * g.channels) / (2.0 * kVectorBytes);
  return g;
}

// One of the tasks that sum: its part of filters and channels, from the tensors' first group on.
struct WinogradGradPart {
  int64_t split, filter0, filters, channel0, channels;  // channel0 in the filters' own numbering
  int64_t x_channel;                                    // in x

  template <class T>
  WinogradGradPart(const WinogradGradPlan<T>& g, int64_t task) {
    split = task % g.splits;
    const int64_t rest = task / g.splits, channel_part = rest % g.channel_parts,
                  filter_part = rest / g.channel_parts % g.filter_parts,
                  group = rest / (g.channel_parts * g.filter_parts);
    channel0 = channel_part * g.part_channels, channels = min_of(g.part_channels, g.channels - channel0);
    const int64_t first = filter_part * g.part_filters;
    filters = min_of(g.part_filters, g.filters - first);
    filter0 = group * g.filters + first, x_channel = group * g.channels + channel0;
  }
};

// Adds a block's products to the sums of every point, or sets them.
template <class T>
void add_products(const WinogradGradPlan<T>& g, const WinogradGradPart& part, int64_t tiles, const T* v,
                  const T* y, bool accumulate, T* sums) {
  constexpr int64_t NR = Blocking<T>::NR;
  const int64_t v_pitch = padded_channels<T>(part.channels), y_pitch = padded_channels<T>(part.filters);
  for (int64_t f = 0; f < g.grid.points(); ++f, v += g.x_step, y += g.y_step, sums += g.sum_step)
    for (int64_t c = 0; c < v_pitch; c += NR) {
      const int width = static_cast<int>(min_of(NR, v_pitch - c));
      const int height = even_part(part.filters, max_rows(width / Vec<T>::N));
      for (int64_t k = 0; k < part.filters; k += height)
        micro_kernel(Tile<T>{.k = tiles,
                             .a = y + k,
                             .rs_a = 1,
                             .cs_a = y_pitch,
                             .b = v + c,
                             .ldb = v_pitch,
                             .packed_b = true,
                             .c = sums + k * v_pitch + c,
                             .ldc = v_pitch,
                             .accumulate = accumulate},
                     static_cast<int>(min_of(height, part.filters - k)), width);
    }
}

// dw of one filter from the sums of all splits.
template <class T, int m>
void finish_filter(const WinogradGradPlan<T>& g, int64_t channels, int64_t filter, const T* sums, T* dw) {
  using V = Vec<T>;
  const int64_t pitch = padded_channels<T>(channels);
  for (int64_t c = 0; c < channels; c += V::N) {
    TapBlocks<T> tap;
    transform_square<T, m + 2, 3, Winograd<T, m>::grad_filter>(
        [&](int i, int j) {
          const T* at = sums + (i * (m + 2) + j) * g.sum_step + filter * pitch + c;
          V sum = V::load(at);
          for (int64_t split = 1; split < g.splits; ++split) sum = sum + V::load(at += g.sums);
          return sum;
        },
        [&](int r, int s, V x) { tap[3 * r + s] = x; });
#pragma GCC unroll 4
    for (int i = 0; i < tap.kBlocks; ++i) {
#pragma GCC unroll 16
      for (int t = tap.length(i); t < V::N; ++t) tap.row[i][t] = V(T(0));
      store_transposed(tap.row[i], dw + c * kWinogradTaps + i * V::N, kWinogradTaps,
                       clamp_lane(channels - c, V::N), tap.length(i));
    }
  }
}

template <class T, int m>
Status run_winograd_grad(Context& ctx, const ConvParams& params, const ConvShape& s) {
  constexpr int kPoints = (m + 2) * (m + 2);
  const WinogradGradPlan<T> g = plan_winograd_grad<T>(s, m);
  const int64_t parts = s.groups * g.filter_parts * g.channel_parts, tasks = parts * g.splits;
  T* const sums = workspace<T>(ctx, static_cast<size_t>(tasks * g.sums + ctx.threads * g.per_worker));
  if (!sums) return Status::need_workspace;
  const T *x = static_cast<const T*>(params.x), *dy = static_cast<const T*>(params.dy);

  const Status summed = parallel_for(ctx, tasks, g.nanoseconds, [&](int64_t task, int worker) {
    const WinogradGradPart part(g, task);
    T* const slab = sums + tasks * g.sums + worker * g.per_worker;
    T* const v = slab + g.slab;
    T* const y = v + kPoints * g.x_step;
    const Planes<T> source{x + part.x_channel * s.h * s.w, s.c * s.h * s.w, part.channels, s.h, s.w};
    const Planes<T> grad{dy + part.filter0 * s.p * s.q, s.k * s.p * s.q, part.filters, s.p, s.q};
    const int64_t first = part.split * g.split_blocks, last = min_of(first + g.split_blocks, g.grid.blocks);
    for (int64_t block = first; block < last; ++block) {
      const TileBlock b(g.grid, s.n, block);
      fill_block_slab(g.grid, b, source, m + 2, s.pad_h, s.pad_w, slab);
      transform_tiles<T, m, m + 2, Winograd<T, m>::input>(g.grid, b, part.channels, slab, g.x_step, v);
      fill_block_slab(g.grid, b, grad, m, 0, 0, slab);
      transform_tiles<T, m, m, Winograd<T, m>::grad_output>(g.grid, b, part.filters, slab, g.y_step, y);
      add_products(g, part, b.tiles(), v, y, block > first, sums + task * g.sums);
    }
  });
  if (summed != Status::ok) return summed;

  return parallel_for(
      ctx, parts * g.part_filters, static_cast<double>(tasks * g.sums) / 8, [&](int64_t task, int) {
        const int64_t index = task / g.part_filters * g.splits, filter = task % g.part_filters;
        const WinogradGradPart part(g, index);
        if (filter >= part.filters) return;
        finish_filter<T, m>(g, part.channels, filter, sums + index * g.sums,
                            static_cast<T*>(params.out) +
                                ((part.filter0 + filter) * g.channels + part.channel0) * kWinogradTaps);
      });
}

}  // namespace

template <int m>
Status winograd_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return run_winograd_grad<float, m>(ctx, params, s);
}

template Status winograd_grad_weight<2>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status winograd_grad_weight<4>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
