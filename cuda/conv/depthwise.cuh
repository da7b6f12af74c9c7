// Depthwise convolution, one filter per channel: nothing is shared between filters, so it is bound by memory
// (8 bytes and, at 3 x 3, 9 multiply-adds per output), and planes are its unit.
//
// Forward and input gradient are the same walk: every output pixel sums some taps of the source plane. A
// block copies the part of the plane that its tile of outputs sees, borders included, to shared memory once,
// and a thread sums kRowsPerThread pixels of a column. Small planes share a block. The weight gradient sums
// over all pixels in registers, one sum per tap and thread, then over threads, blocks and splits in a fixed
// order.
#pragma once
#include "backend/conv.h"
#include "cuda/conv/image_operand.cuh"
#include "cuda/conv/shape.cuh"
#include "cuda/gemm/tile_product.cuh"

namespace fastnn::cuda {

constexpr int kPlaneThreads = 256;
constexpr int kRowsPerThread = 4;

// out(i, j) of a plane = act(bias + sum over taps r, t of w(r, t) source(row0 + i row_stride + r row_step,
// likewise)).
template <class T>
struct PlaneConv {
  const T* source;
  int height, width;
  const T* w;
  int w_plane, w_row, w_col;
  const T* bias;
  bool relu;
  T* out;
  int64_t out_plane, out_row, out_col;

  int64_t planes;
  int channels;
  int rows, cols, taps_h, taps_w;
  int row0, row_stride, row_step, col0, col_stride, col_step;

  // How a block is laid out: planes_per_block tiles of tile_rows x tile_cols outputs and their sources.
  int tile_rows, tile_cols, planes_per_block, halo_rows, halo_cols, tiles_h, tiles_w;
  FastDivide halo_area, halo_width, taps_area;
};

// Tiles as small as the planes, and what of the source they see. False if that is too much for shared memory.
template <class T>
bool lay_out(PlaneConv<T>* g) {
  const auto side = [](int extent) { return extent <= 8 ? 8 : extent <= 16 ? 16 : 32; };
  const auto extent = [](int tile, int stride, int taps, int step) {
    return static_cast<int64_t>(tile - 1) * stride +
           static_cast<int64_t>(taps > 0 ? taps - 1 : 0) * (step < 0 ? -step : step) + 1;
  };
  g->tile_rows = side(g->rows), g->tile_cols = side(g->cols);
  g->planes_per_block = kPlaneThreads * kRowsPerThread / (g->tile_rows * g->tile_cols);
  const int64_t halo_rows = extent(g->tile_rows, g->row_stride, g->taps_h, g->row_step);
  const int64_t halo_cols = extent(g->tile_cols, g->col_stride, g->taps_w, g->col_step);
  constexpr double kRoom = 40 * 1024;
  const double elements =
      static_cast<double>(halo_rows) * static_cast<double>(halo_cols) + g->taps_h * g->taps_w;
  if (elements * g->planes_per_block * sizeof(T) > kRoom) return false;
  g->halo_rows = static_cast<int>(halo_rows), g->halo_cols = static_cast<int>(halo_cols);
  g->tiles_h = ceil_div(g->rows, g->tile_rows), g->tiles_w = ceil_div(g->cols, g->tile_cols);
  g->halo_area = FastDivide(static_cast<unsigned>(halo_rows * halo_cols));
  g->halo_width = FastDivide(static_cast<unsigned>(halo_cols));
  g->taps_area = FastDivide(static_cast<unsigned>(g->taps_h * g->taps_w > 0 ? g->taps_h * g->taps_w : 1));
  return true;
}

// The smallest source row (column) that output `first` sees.
__device__ inline int lowest(int first, int start, int stride, int step, int taps) {
  return start + first * stride + (step < 0 ? (taps - 1) * step : 0);
}

template <class T>
__device__ void copy_planes(const PlaneConv<T>& g, int64_t plane0, int line0, int col0, T* halo, T* filters) {
  const int halo_elements = g.planes_per_block * static_cast<int>(g.halo_area.divisor);
  for (int index = threadIdx.x; index < halo_elements; index += kPlaneThreads) {
    const int plane = static_cast<int>(g.halo_area.quotient(index));
    const int in_plane = index - plane * static_cast<int>(g.halo_area.divisor);
    const int row = static_cast<int>(g.halo_width.quotient(in_plane)), col = in_plane - row * g.halo_cols;
    const int h = line0 + row, w = col0 + col;
    const bool valid = plane0 + plane < g.planes &&
                       static_cast<unsigned>(h) < static_cast<unsigned>(g.height) &&
                       static_cast<unsigned>(w) < static_cast<unsigned>(g.width);
    const int64_t at = ((plane0 + plane) * g.height + h) * g.width + w;
    ptx::copy_async<sizeof(T)>(halo + index, g.source + at, valid);
  }
  const int taps = g.taps_h * g.taps_w;
  for (int index = threadIdx.x; index < g.planes_per_block * taps; index += kPlaneThreads) {
    const int plane = static_cast<int>(g.taps_area.quotient(index)), tap = index - plane * taps;
    const int r = tap / g.taps_w, t = tap - r * g.taps_w;
    const int64_t channel = (plane0 + plane) % g.channels;
    ptx::copy_async<sizeof(T)>(filters + index, g.w + channel * g.w_plane + r * g.w_row + t * g.w_col,
                               plane0 + plane < g.planes);
  }
  ptx::commit();
  ptx::wait<0>();
  __syncthreads();
}

// SIDE: filters of SIDE x SIDE taps, or 0 for any.
template <class T, int SIDE>
__global__ void __launch_bounds__(kPlaneThreads) plane_conv_kernel(PlaneConv<T> g) {
  SharedMemory shared;
  T* const halo = shared.template take<T>(static_cast<size_t>(g.planes_per_block) * g.halo_area.divisor);
  T* const filters = shared.template take<T>(static_cast<size_t>(g.planes_per_block) * g.taps_area.divisor);
  const int tiles = g.tiles_h * g.tiles_w;
  const int64_t plane0 = blockIdx.x / tiles * static_cast<int64_t>(g.planes_per_block);
  const int tile = static_cast<int>(blockIdx.x % tiles), tile_h = tile / g.tiles_w,
            tile_w = tile - tile_h * g.tiles_w;
  const int i0 = tile_h * g.tile_rows, j0 = tile_w * g.tile_cols;
  copy_planes(g, plane0, lowest(i0, g.row0, g.row_stride, g.row_step, g.taps_h),
              lowest(j0, g.col0, g.col_stride, g.col_step, g.taps_w), halo, filters);

  // A thread's rows are apart by as many as there are threads in a column: neighbours read neighbours.
  const int slots = g.tile_rows / kRowsPerThread, per_plane = g.tile_cols * slots;
  const int plane = static_cast<int>(threadIdx.x) / per_plane,
            in_plane = static_cast<int>(threadIdx.x) % per_plane;
  const int i = in_plane / g.tile_cols, j = in_plane % g.tile_cols;
  const int taps_h = SIDE ? SIDE : g.taps_h, taps_w = SIDE ? SIDE : g.taps_w;
  const T* from = halo + plane * g.halo_area.divisor +
                  (i * g.row_stride + (g.row_step < 0 ? (1 - taps_h) * g.row_step : 0)) * g.halo_cols +
                  j * g.col_stride + (g.col_step < 0 ? (1 - taps_w) * g.col_step : 0);
  const T* filter = filters + plane * taps_h * taps_w;
  const int next_row = slots * g.row_stride * g.halo_cols;
  T sum[kRowsPerThread] = {};
#pragma unroll
  for (int r = 0; r < taps_h; ++r)
#pragma unroll
    for (int t = 0; t < taps_w; ++t) {
      const T* at = from + r * g.row_step * g.halo_cols + t * g.col_step;
      const T weight = filter[r * taps_w + t];
#pragma unroll
      for (int e = 0; e < kRowsPerThread; ++e) sum[e] = fma(weight, at[e * next_row], sum[e]);
    }
  if (plane0 + plane >= g.planes || j0 + j >= g.cols) return;
  const T bias = g.bias ? g.bias[(plane0 + plane) % g.channels] : T(0);
  T* const out = g.out + (plane0 + plane) * g.out_plane + (j0 + j) * g.out_col;
#pragma unroll
  for (int e = 0; e < kRowsPerThread; ++e) {
    const int row = i0 + i + e * slots;
    const T value = sum[e] + bias;
    if (row < g.rows) out[row * g.out_row] = g.relu && value < T(0) ? T(0) : value;
  }
}

template <class T>
Status run_planes(const Context& ctx, const PlaneConv<T>& g) {
  const int64_t blocks = ceil_div<int64_t>(g.planes, g.planes_per_block) * g.tiles_h * g.tiles_w;
  const size_t shared =
      SharedMemory::bytes<T>(static_cast<size_t>(g.planes_per_block) * g.halo_area.divisor) +
      SharedMemory::bytes<T>(static_cast<size_t>(g.planes_per_block) * g.taps_area.divisor);
  const dim3 grid(static_cast<unsigned>(blocks)), block(kPlaneThreads);
  if (g.taps_h == 3 && g.taps_w == 3) return launch<plane_conv_kernel<T, 3>>(ctx, grid, block, shared, g);
  return launch<plane_conv_kernel<T, 0>>(ctx, grid, block, shared, g);
}

template <class T>
PlaneConv<T> plane_forward(const ConvParams& params, const ConvShape& s) {
  const auto i = [](int64_t v) { return static_cast<int>(v); };
  PlaneConv<T> g{};
  g.source = static_cast<const T*>(params.x), g.height = i(s.h), g.width = i(s.w);
  g.w = static_cast<const T*>(params.w), g.w_plane = i(s.r * s.s), g.w_row = i(s.s), g.w_col = 1;
  g.bias = static_cast<const T*>(params.bias), g.relu = params.activation == Activation::relu;
  g.out = static_cast<T*>(params.out), g.out_plane = s.p * s.q, g.out_row = s.q, g.out_col = 1;
  g.planes = s.n * s.c, g.channels = i(s.c);
  g.rows = i(s.p), g.cols = i(s.q), g.taps_h = i(s.r), g.taps_w = i(s.s);
  g.row0 = i(-s.pad_h), g.row_stride = i(s.stride_h), g.row_step = i(s.dilation_h);
  g.col0 = i(-s.pad_w), g.col_stride = i(s.stride_w), g.col_step = i(s.dilation_w);
  return g;
}

// Pixels (a + i stride_h, b + j stride_w) of dx; a phase without taps is all zeros.
template <class T>
PlaneConv<T> plane_grad_input(const ConvParams& params, const ConvShape& s, int64_t a, int64_t b) {
  const auto i = [](int64_t v) { return static_cast<int>(v); };
  const Phase row = phase_of(a, s.h, s.stride_h, s.pad_h, s.dilation_h, s.r);
  const Phase col = phase_of(b, s.w, s.stride_w, s.pad_w, s.dilation_w, s.s);
  const bool taps = row.taps > 0 && col.taps > 0;
  PlaneConv<T> g{};
  g.source = static_cast<const T*>(params.dy), g.height = i(s.p), g.width = i(s.q);
  g.w = static_cast<const T*>(params.w) + (taps ? row.first * s.s + col.first : 0);
  g.w_plane = i(s.r * s.s), g.w_row = i(row.step * s.s), g.w_col = i(col.step);
  g.out = static_cast<T*>(params.out) + a * s.w + b;
  g.out_plane = s.h * s.w, g.out_row = s.stride_h * s.w, g.out_col = s.stride_w;
  g.planes = s.n * s.c, g.channels = i(s.c);
  g.rows = i(row.pixels), g.cols = i(col.pixels);
  g.taps_h = taps ? i(row.taps) : 0, g.taps_w = taps ? i(col.taps) : 0;
  g.row0 = i(row.start), g.row_stride = 1, g.row_step = i(row.move);
  g.col0 = i(col.start), g.col_stride = 1, g.col_step = i(col.move);
  return g;
}

// ---- weight gradient

// dw(channel, tap) = sum over pixels of dy x; up to TAPS taps from tap0 on, for the pixels of one split.
template <class T>
struct DepthwiseWeight {
  const T *x, *dy;
  T* out;  // splits x channels x taps
  ConvShape shape;
  FastDivide images, rows;  // by P Q, by Q
  int64_t pixels, pixels_per_split, chunks;
};

template <class T, int TAPS>
__global__ void __launch_bounds__(kPlaneThreads) depthwise_weight_kernel(DepthwiseWeight<T> g) {
  constexpr int WARPS = kPlaneThreads / kWarpSize;
  SharedMemory shared;
  T* const sums = shared.template take<T>(WARPS * TAPS);
  ImagePlace* const places = shared.template take<ImagePlace>(TAPS);
  const ConvShape& s = g.shape;
  const int h = static_cast<int>(s.h), w = static_cast<int>(s.w), taps = static_cast<int>(s.r * s.s);
  const int64_t part = blockIdx.x / g.chunks, split = part / s.c, channel = part - split * s.c;
  const int tap0 = static_cast<int>(blockIdx.x - part * g.chunks) * TAPS, lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize, tap = tap0 + static_cast<int>(threadIdx.x);
  if (threadIdx.x < TAPS) {
    const int r = tap / static_cast<int>(s.s), t = tap - r * static_cast<int>(s.s);
    const int row = r * static_cast<int>(s.dilation_h), col = t * static_cast<int>(s.dilation_w);
    places[threadIdx.x] = tap < taps ? ImagePlace{static_cast<int64_t>(row) * w + col, row, col}
                                     : ImagePlace{0, kOutside, kOutside};
  }
  __syncthreads();

  T sum[TAPS] = {};
  const int64_t begin = split * g.pixels_per_split, limit = begin + g.pixels_per_split;
  const int64_t end = limit < g.pixels ? limit : g.pixels;
  for (int64_t pixel = begin + threadIdx.x; pixel < end; pixel += kPlaneThreads) {
    const unsigned n = g.images.quotient(static_cast<unsigned>(pixel));
    const unsigned in_image = static_cast<unsigned>(pixel) - n * g.images.divisor;
    const unsigned p = g.rows.quotient(in_image), q = in_image - p * g.rows.divisor;
    const int64_t plane = n * s.c + channel;
    const int h0 = static_cast<int>(p * s.stride_h - s.pad_h),
              w0 = static_cast<int>(q * s.stride_w - s.pad_w);
    const T d = g.dy[plane * g.images.divisor + in_image];
    const T* from = g.x + plane * h * w + static_cast<int64_t>(h0) * w + w0;
#pragma unroll
    for (int e = 0; e < TAPS; ++e) {
      const ImagePlace place = places[e];
      if (static_cast<unsigned>(h0 + place.h) < static_cast<unsigned>(h) &&
          static_cast<unsigned>(w0 + place.w) < static_cast<unsigned>(w))
        sum[e] = fma(d, from[place.offset], sum[e]);
    }
  }
#pragma unroll
  for (int e = 0; e < TAPS; ++e) {
    const T all = warp_reduce(sum[e], [](T a, T b) { return a + b; });
    if (lane == 0) sums[warp * TAPS + e] = all;
  }
  __syncthreads();
  if (threadIdx.x < TAPS && tap < taps) {
    T all = sums[threadIdx.x];
    for (int i = 1; i < WARPS; ++i) all += sums[i * TAPS + threadIdx.x];
    g.out[(split * s.c + channel) * taps + tap] = all;
  }
}

template <class T, int TAPS>
Status run_depthwise_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  DepthwiseWeight<T> g{};
  g.x = static_cast<const T*>(params.x), g.dy = static_cast<const T*>(params.dy), g.shape = s;
  g.pixels = s.n * s.p * s.q;
  g.images = FastDivide(static_cast<unsigned>(s.p * s.q > 0 ? s.p * s.q : 1));
  g.rows = FastDivide(static_cast<unsigned>(s.q > 0 ? s.q : 1));
  const int64_t taps = s.r * s.s, weights = s.c * taps;
  g.chunks = ceil_div<int64_t>(taps, TAPS);
  const int64_t room = ctx.multiprocessors * int64_t{8} / (s.c * g.chunks), most = g.pixels / 2048;
  const int64_t wanted = room < most ? room : most, parts = wanted > 1 ? wanted : 1;
  g.pixels_per_split = ceil_div(ceil_div(g.pixels, parts), int64_t{kPlaneThreads}) * kPlaneThreads;
  const int64_t splits = g.pixels > 0 ? ceil_div(g.pixels, g.pixels_per_split) : 1;
  Output<T> out{};
  out.base = static_cast<T*>(params.out), out.column_stride = 1;
  g.out = out.base;
  if (splits > 1) {
    g.out = workspace<T>(ctx, static_cast<size_t>(weights * splits));
    if (!g.out) return Status::need_workspace;
  }
  const size_t shared =
      SharedMemory::bytes<T>(kPlaneThreads / kWarpSize * TAPS) + SharedMemory::bytes<ImagePlace>(TAPS);
  const Status status = launch<depthwise_weight_kernel<T, TAPS>>(
      ctx, dim3(static_cast<unsigned>(splits * s.c * g.chunks)), dim3(kPlaneThreads), shared, g);
  if (status != Status::ok || splits == 1) return status;
  return launch<combine_kernel<T>>(ctx, dim3(static_cast<unsigned>(ceil_div<int64_t>(weights, 256))),
                                   dim3(256), 0, g.out, out, int64_t{1}, weights, splits, int64_t{1});
}

// ---- what conv.cu lists

inline bool is_depthwise(const ConvShape& s) {
  return s.k == s.groups && s.c == s.groups && fits_32_bits(s) && s.h * s.w > 0 &&
         s.n * s.c < (int64_t{1} << 30) / (ceil_div<int64_t>(s.h, 8) * ceil_div<int64_t>(s.w, 8));
}

template <class T>
bool depthwise_forward_applies(const Context&, const ConvShape& s) {
  PlaneConv<T> g = is_depthwise(s) ? plane_forward<T>({}, s) : PlaneConv<T>{};
  return is_depthwise(s) && lay_out(&g);
}
template <class T>
Status depthwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  PlaneConv<T> g = plane_forward<T>(params, s);
  lay_out(&g);
  return run_planes(ctx, g);
}

// f(g) for each phase that has pixels, until one returns false.
template <class T, class F>
bool for_plane_phases(const ConvParams& params, const ConvShape& s, F f) {
  for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
    for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
      PlaneConv<T> g = plane_grad_input<T>(params, s, a, b);
      if (!lay_out(&g) || !f(g)) return false;
    }
  return true;
}
template <class T>
bool depthwise_grad_input_applies(const Context&, const ConvShape& s) {
  return is_depthwise(s) && s.stride_h * s.stride_w <= 64 &&
         for_plane_phases<T>({}, s, [](const PlaneConv<T>&) { return true; });
}
template <class T>
Status depthwise_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  Status status = Status::ok;
  for_plane_phases<T>(params, s, [&](const PlaneConv<T>& g) {
    status = run_planes(ctx, g);
    return status == Status::ok;
  });
  return status;
}

inline bool depthwise_grad_weight_applies(const Context&, const ConvShape& s) { return is_depthwise(s); }
template <class T>
Status depthwise_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return s.r * s.s <= 9 ? run_depthwise_weight<T, 9>(ctx, params, s)
                        : run_depthwise_weight<T, 16>(ctx, params, s);
}

}  // namespace fastnn::cuda
