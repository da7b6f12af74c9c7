// Convolution of 3x3 filters that step by one by Winograd's algorithm: forward, and the input gradient, which
// is the same with dy as its source and the filters turned round.
//
//     U[f][channel][filter]    of the filters, once per call
//     V[f][tile][channel]      of a block of tiles (winograd_tiles.h), in the cache of the task that uses it
//     M[f][tile][filter] = V[f] U[f]    for every point f
//
// These are 16 products for 4 outputs instead of 36, or 36 for 16 instead of 144. M becomes m x m outputs per
// tile, whose filters are turned back from lanes to planes on the way out.
//
// Error: tiles of 2x2 round less than the direct sums, as these are shorter; tiles of 4x4, which only a
// precision looser than fp32 allows, almost three times as much. That is a mean over the image: within a tile
// the largest pixels decide. A NaN or infinity of x reaches every output of the tiles that read it, mostly as
// NaN: up to m - 1 pixels more on each side than the filter itself would have reached.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/winograd_tiles.h"
#include "cpu/gemm/tile.h"

namespace fastnn::FASTNN_ISA {
namespace {

template <class T>
struct WinogradOperands {
  const T *x, *w, *bias;        // bias or null
  int64_t w_filter, w_channel;  // from one filter of w, and one of its channels, to the next; taps are dense
  bool turned;                  // tap (r, s) of w is tap (2 - r, 2 - s)
  bool relu;
  T* out;
};

// How a product is cut; a function of shapes alone. A task multiplies a block of tiles with some panels of
// filters.
template <class T>
struct WinogradPlan {
  TileGrid grid;
  int64_t filters, channels;                   // per group
  int64_t panels, width;                       // of filters, per group; width in whole vectors
  int64_t parts, part_panels;                  // tasks of a block
  int64_t w_panel;                             // elements of a panel at one point
  int64_t w_step, x_step, y_step;              // from one point to the next
  int64_t w_elements, x_elements, per_worker;  // of scratch
  double nanoseconds;
};

template <class T>
WinogradPlan<T> plan_winograd(const ConvShape& s, int64_t tile) {
  WinogradPlan<T> plan{};
  plan.filters = s.k / s.groups, plan.channels = s.c / s.groups;
  plan.grid = tile_grid(tile, s.n, s.p, s.q);
  plan.panels = ceil_div(plan.filters, Blocking<T>::NR);
  plan.width = round_up(ceil_div(plan.filters, plan.panels), Vec<T>::N);
  const int64_t wanted = ceil_div(kConvTasks, plan.grid.blocks * s.groups);
  plan.part_panels = ceil_div(plan.panels, min_of(wanted, plan.panels));
  plan.parts = ceil_div(plan.panels, plan.part_panels);
  const int64_t points = plan.grid.points(), tiles = plan.grid.block_tiles();
  plan.w_panel = plan.channels * plan.width;
  plan.w_step = point_step<T>(s.groups * plan.panels * plan.w_panel);
  plan.x_step = point_step<T>(tiles * padded_channels<T>(plan.channels));
  plan.y_step = point_step<T>(tiles * plan.width);
  plan.w_elements = points * plan.w_step;
  plan.x_elements = points * plan.x_step;
  // The slab is no longer needed when products come: they share their memory, which L2 has little of.
  plan.per_worker =
      plan.x_elements +
      round_up(max_of(slab_elements<T>(plan.grid, tile + 2, plan.channels), points * plan.y_step), 16);
  plan.nanoseconds = static_cast<double>(plan.grid.blocks * tiles * points) *
                     static_cast<double>(s.k * plan.channels) / (2.0 * kVectorBytes);
  return plan;
}

// U of one panel of filters, channels [c0, c1).
template <class T, int m>
void transform_filters(const WinogradOperands<T>& o, const WinogradPlan<T>& plan, int64_t panel, int64_t c0,
                       int64_t c1, T* u) {
  using V = Vec<T>;
  const int64_t group = panel / plan.panels, first = (panel - group * plan.panels) * plan.width;
  const T* w = o.w + group * plan.filters * plan.channels * kWinogradTaps + first * o.w_filter;
  for (int64_t k = 0; k < plan.width; k += V::N, w += V::N * o.w_filter) {
    const int filters = clamp_lane(plan.filters - first - k, V::N);
    for (int64_t c = c0; c < c1; ++c) {
      TapBlocks<T> tap;
#pragma GCC unroll 4
      for (int i = 0; i < tap.kBlocks; ++i)
        load_transposed(tap.row[i], w + c * o.w_channel + i * V::N, o.w_filter, filters, tap.length(i));
      T* const to = u + panel * plan.w_panel + c * plan.width + k;
      transform_square<T, 3, m + 2, Winograd<T, m>::filter>(
          [&](int r, int s) { return tap[o.turned ? kWinogradTaps - 1 - (3 * r + s) : 3 * r + s]; },
          [&](int i, int j, V v) { v.store(to + (i * (m + 2) + j) * plan.w_step); });
    }
  }
}

// M of one panel of filters.
template <class T>
void multiply_points(const WinogradPlan<T>& plan, int64_t tiles, const T* v, const T* u, T* products) {
  constexpr int64_t KC = Blocking<T>::KC;
  const int64_t channels = plan.channels, pitch = padded_channels<T>(channels);
  const int width = static_cast<int>(plan.width);
  const int height = even_part(tiles, max_rows(width / Vec<T>::N));
  for (int64_t f = 0; f < plan.grid.points();
       ++f, v += plan.x_step, u += plan.w_step, products += plan.y_step)
    for (int64_t c = 0; c < channels; c += KC)
      for (int64_t t = 0; t < tiles; t += height)
        micro_kernel(Tile<T>{.k = min_of(KC, channels - c),
                             .a = v + t * pitch + c,
                             .rs_a = pitch,
                             .cs_a = 1,
                             .b = u + c * width,
                             .ldb = width,
                             .packed_b = true,
                             .c = products + t * width,
                             .ldc = width,
                             .accumulate = c > 0},
                     static_cast<int>(min_of(height, tiles - t)), width);
}

// The outputs of up to a vector of filters, whose M begins at products and whose planes of image 0 at out.
template <class T, int m>
void store_tiles(const ConvShape& s, const WinogradPlan<T>& plan, const TileBlock& b, int filters,
                 const T* bias, bool relu, const T* products, T* out) {
  using V = Vec<T>;
  constexpr int kTiles = V::N / m;  // whose outputs fill a vector
  const int64_t plane = s.p * s.q;
  const V shift = bias ? V::load_n(bias, filters) : V(T(0));
  for (int64_t n = b.n0; n < b.n1; ++n)
    for (int64_t i = b.i0; i < b.i1; ++i)
      for (int64_t j = b.j0; j < b.j1; j += kTiles) {
        const int tiles = static_cast<int>(min_of(kTiles, b.j1 - j));
        const int pixels = static_cast<int>(min_of(tiles * m, s.q - j * m));
        const int lines = static_cast<int>(min_of(m, s.p - i * m));
        T* const to = out + n * s.k * plane + i * m * s.q + j * m;
        for (int k = 0; k < filters; ++k)  // planes are too far apart for the processor to foresee
          for (int r = 0; r < lines; ++r) __builtin_prefetch(to + k * plane + r * s.q, 1);

        V line[m][V::N];  // an output of all filters each
        for (int t = 0; t < tiles; ++t, products += plan.width)
          transform_square<T, m + 2, m, Winograd<T, m>::output>(
              [&](int r, int c) { return V::load(products + (r * (m + 2) + c) * plan.y_step); },
              [&](int r, int c, V y) {
                if (bias) y = y + shift;
                line[r][t * m + c] = relu ? max(V(T(0)), y) : y;  // in this order NaN stays NaN
              });
        for (int r = 0; r < lines; ++r) {
          for (int t = tiles * m; t < V::N; ++t) line[r][t] = V(T(0));
          store_transposed(line[r], to + r * s.q, plane, filters, pixels);
        }
      }
}

template <class T, int m>
Status run_winograd(Context& ctx, const WinogradOperands<T>& o, const ConvShape& s) {
  const WinogradPlan<T> plan = plan_winograd<T>(s, m);
  T* const u = workspace<T>(ctx, static_cast<size_t>(plan.w_elements + ctx.threads * plan.per_worker));
  if (!u) return Status::need_workspace;

  constexpr int64_t kChannels = 16;  // of a task
  const int64_t chunks = ceil_div(plan.channels, kChannels);
  const Status transformed = parallel_for(
      ctx, s.groups * plan.panels * chunks, static_cast<double>(plan.w_elements) / 4, [&](int64_t task, int) {
        const int64_t panel = task / chunks, c0 = (task - panel * chunks) * kChannels;
        transform_filters<T, m>(o, plan, panel, c0, min_of(c0 + kChannels, plan.channels), u);
      });
  if (transformed != Status::ok) return transformed;

  const int64_t blocks = plan.grid.blocks;
  return parallel_for(ctx, s.groups * plan.parts * blocks, plan.nanoseconds, [&](int64_t task, int worker) {
    const int64_t part = task / blocks, group = part / plan.parts;
    const int64_t panel0 = part % plan.parts * plan.part_panels,
                  panel1 = min_of(panel0 + plan.part_panels, plan.panels);
    const TileBlock b(plan.grid, s.n, task - part * blocks);
    T* const v = u + plan.w_elements + worker * plan.per_worker;
    T* const products = v + plan.x_elements;  // and the slab
    const Planes<T> x{o.x + group * plan.channels * s.h * s.w, s.c * s.h * s.w, plan.channels, s.h, s.w};
    fill_block_slab(plan.grid, b, x, m + 2, s.pad_h, s.pad_w, products);
    transform_tiles<T, m, m + 2, Winograd<T, m>::input>(plan.grid, b, plan.channels, products, plan.x_step,
                                                        v);
    for (int64_t panel = panel0; panel < panel1; ++panel) {
      multiply_points(plan, b.tiles(), v, u + (group * plan.panels + panel) * plan.w_panel, products);
      const int64_t first = panel * plan.width, last = min_of(first + plan.width, plan.filters);
      for (int64_t k = first; k < last; k += Vec<T>::N) {
        const int64_t filter = group * plan.filters + k;
        store_tiles<T, m>(s, plan, b, clamp_lane(last - k, Vec<T>::N), o.bias ? o.bias + filter : nullptr,
                          o.relu, products + k - first, o.out + filter * s.p * s.q);
      }
    }
  });
}

// What tiles of m x m take, in multiply-adds at the units' peak: their products, the transforms of both
// images and of the filters. The factors are measured, as is the direct algorithm's share of the peak.
template <class T>
double winograd_cost(const ConvShape& s, int64_t m) {
  const auto number = [](int64_t i) { return static_cast<double>(i); };
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  const double tiles = number(s.n * ceil_div(s.p, m) * ceil_div(s.q, m)), points = number((m + 2) * (m + 2));
  const double padded = number(padded_channels<T>(channels) + padded_channels<T>(filters));
  const double pairs = number(channels * filters);
  return points * (tiles * pairs / 0.85 + 10 * tiles * padded + 28 * pairs);
}

}  // namespace

template <int m>
bool winograd_pays(const ConvShape& s) {
  if (s.r != 3 || s.s != 3 || s.stride_h != 1 || s.stride_w != 1) return false;
  if (s.dilation_h != 1 || s.dilation_w != 1 || s.pad_h > 2 || s.pad_w > 2) return false;
  const int64_t pixels = s.n * s.p * s.q;
  if (pixels <= Blocking<float>::NR) return false;  // there are ways to leave the filters where they are
  const double pairs = static_cast<double>(s.c / s.groups) * static_cast<double>(s.k / s.groups);
  const double direct = pairs * (9 * static_cast<double>(pixels) / 0.72 + 800),
               cost = winograd_cost<float>(s, m);
  return cost < direct && (m == 2 || cost < winograd_cost<float>(s, 2));
}

template <int m>
Status winograd_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const WinogradOperands<float> o{
      .x = static_cast<const float*>(params.x),
      .w = static_cast<const float*>(params.w),
      .bias = static_cast<const float*>(params.bias),
      .w_filter = s.c / s.groups * kWinogradTaps,
      .w_channel = kWinogradTaps,
      .turned = false,
      .relu = params.activation == Activation::relu,
      .out = static_cast<float*>(params.out),
  };
  return run_winograd<float, m>(ctx, o, s);
}

template <int m>
bool winograd_grad_pays(const ConvShape& s) {
  return s.pad_h <= 2 && s.pad_w <= 2 && winograd_pays<m>(grad_input_shape(s));
}

template <int m>
Status winograd_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const WinogradOperands<float> o{
      .x = static_cast<const float*>(params.dy),
      .w = static_cast<const float*>(params.w),
      .bias = nullptr,
      .w_filter = kWinogradTaps,
      .w_channel = s.c / s.groups * kWinogradTaps,
      .turned = true,
      .relu = false,
      .out = static_cast<float*>(params.out),
  };
  return run_winograd<float, m>(ctx, o, grad_input_shape(s));
}

template bool winograd_pays<2>(const ConvShape& s);
template bool winograd_pays<4>(const ConvShape& s);
template Status winograd_forward<2>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status winograd_forward<4>(Context& ctx, const ConvParams& params, const ConvShape& s);
template bool winograd_grad_pays<2>(const ConvShape& s);
template bool winograd_grad_pays<4>(const ConvShape& s);
template Status winograd_grad_input<2>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status winograd_grad_input<4>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
