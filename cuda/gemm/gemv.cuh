// Products with a vector: y[i] = act(sum of x[i * out_stride + k * depth_stride] v[k * v_stride] + bias).
//
// Every element of x is used once, so reading it is all the work: 4 bytes per 2 operations. Where x is
// contiguous along k, warps read its rows; where it is along i, threads take neighbouring outputs and walk
// down k. Long k is split over blocks where outputs alone do not fill the device.
#pragma once
#include "cuda/gemm/tile_product.cuh"

namespace fastnn::cuda {

template <class T>
struct Gemv {
  const T* x;
  int64_t out_stride, depth_stride, x_batch;
  const T* v;
  int64_t v_stride, v_batch;
  int64_t outputs, k, k_per_split, splits;
  bool vector;         // rows of x and v can be read in 16-byte pieces
  int64_t row_blocks;  // blocks along the outputs
};
constexpr int kGemvThreads = 256;
constexpr int kGemvWarps = kGemvThreads / kWarpSize;
constexpr int64_t kGemvLongRow = 8192;  // a row of more is shared by the warps of a block
constexpr int kGemvChains = 4;          // independent sums of a thread: loads in flight

struct GemvPlace {
  int64_t block, split, batch;
};
template <class T>
__device__ GemvPlace gemv_place(const Gemv<T>& g) {
  const unsigned row_blocks = static_cast<unsigned>(g.row_blocks), splits = static_cast<unsigned>(g.splits);
  const unsigned part = blockIdx.x / row_blocks, batch = part / splits;
  return {blockIdx.x - part * row_blocks, part - batch * splits, batch};
}

// Result i, finished, or a split's part of it to scratch, laid out as combine_kernel reads it with m = 1.
template <class T>
__device__ void gemv_store(const Output<T>& out, const GemvPlace& at, int64_t i, T sum) {
  out.base[at.batch * out.batch_stride + at.split * out.split_stride + out.column(i)] =
      out.finish(sum, at.batch, 0, i);
}

// Lanes [lane, lane + step, ...) of a team sum pieces of kVector elements; who sums what does not depend on
// how the pieces are read.
template <class T>
__device__ T dot_part(const Gemv<T>& g, const T* x, const T* v, int64_t k, int lane, int step) {
  constexpr int V = kVector<T>;
  struct alignas(16) Piece {
    T v[V];
  };
  T sum[kGemvChains] = {};
  const int64_t pieces = k / V;
  const auto add = [&](int chain, int64_t piece) {
    Piece a, b;
    if (g.vector) {
      a = *reinterpret_cast<const Piece*>(x + piece * V), b = *reinterpret_cast<const Piece*>(v + piece * V);
    } else {
#pragma unroll
      for (int e = 0; e < V; ++e) a.v[e] = x[piece * V + e], b.v[e] = v[(piece * V + e) * g.v_stride];
    }
#pragma unroll
    for (int e = 0; e < V; ++e) sum[chain] = fma(a.v[e], b.v[e], sum[chain]);
  };
  int64_t piece = lane;
  for (; piece + (kGemvChains - 1) * step < pieces; piece += kGemvChains * step) {
#pragma unroll
    for (int chain = 0; chain < kGemvChains; ++chain) add(chain, piece + chain * step);
  }
  for (; piece < pieces; piece += step) add(0, piece);
  const int64_t rest = pieces * V + lane;
  if (rest < k) sum[1] = fma(x[rest], v[rest * g.v_stride], sum[1]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// x contiguous along k: a warp per output, or the whole block where rows are long.
template <class T>
__global__ void __launch_bounds__(kGemvThreads) gemv_rows_kernel(Gemv<T> g, Output<T> out, bool shared_rows) {
  const GemvPlace at = gemv_place(g);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int64_t i = shared_rows ? at.block : at.block * kGemvWarps + warp;
  const int64_t k0 = at.split * g.k_per_split, rest = g.k - k0;
  const T* x = g.x + at.batch * g.x_batch + i * g.out_stride + k0;
  const T* v = g.v + at.batch * g.v_batch + k0 * g.v_stride;
  T sum = 0;
  if (i < g.outputs)
    sum =
        dot_part(g, x, v, rest < g.k_per_split ? rest : g.k_per_split,
                 shared_rows ? static_cast<int>(threadIdx.x) : lane, shared_rows ? kGemvThreads : kWarpSize);
  const auto add = [](T a, T b) { return a + b; };
  if (shared_rows) {
    SharedMemory shared;
    sum = block_reduce(sum, add, T(0), shared.template take<T>(kWarpSize));
    if (threadIdx.x == 0) gemv_store(out, at, i, sum);
  } else {
    sum = warp_reduce(sum, add);
    if (lane == 0 && i < g.outputs) gemv_store(out, at, i, sum);
  }
}

// x contiguous along the outputs: a warp reads 32 of them at one k, the block's warps take turns along k.
template <class T>
__global__ void __launch_bounds__(kGemvThreads) gemv_columns_kernel(Gemv<T> g, Output<T> out) {
  SharedMemory shared;
  T* const sums = shared.template take<T>(kGemvThreads);
  const GemvPlace at = gemv_place(g);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int64_t i = at.block * kWarpSize + lane;
  const int64_t k0 = at.split * g.k_per_split, rest = g.k - k0;
  const int64_t k = rest < g.k_per_split ? rest : g.k_per_split;
  const T* x = g.x + at.batch * g.x_batch + i + k0 * g.depth_stride;
  const T* v = g.v + at.batch * g.v_batch + k0 * g.v_stride;
  T sum = 0;
  if (i < g.outputs) {
#pragma unroll 8
    for (int64_t kk = warp; kk < k; kk += kGemvWarps)
      sum = fma(x[kk * g.depth_stride], v[kk * g.v_stride], sum);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp == 0 && i < g.outputs) {
#pragma unroll
    for (int w = 1; w < kGemvWarps; ++w) sum += sums[w * kWarpSize + lane];
    gemv_store(out, at, i, sum);
  }
}

// `out` runs over the outputs as columns; batch products.
template <class T>
Status run_gemv(Context& ctx, Gemv<T> g, const Output<T>& out, int64_t batch) {
  const bool rows = g.depth_stride == 1;
  const bool shared_rows = rows && g.k >= kGemvLongRow;
  g.row_blocks = !rows         ? ceil_div<int64_t>(g.outputs, kWarpSize)
                 : shared_rows ? g.outputs
                               : ceil_div<int64_t>(g.outputs, kGemvWarps);
  // 4 blocks for each multiprocessor, of at least 2048 (rows) or 128 (columns) k.
  const int64_t blocks = g.row_blocks * batch, least = rows ? 2048 : 128;
  int64_t splits = ctx.multiprocessors * 4 / blocks;
  if (splits > g.k / least) splits = g.k / least;
  if (splits < 1) splits = 1;
  g.k_per_split = ceil_div(ceil_div(g.k, splits), int64_t{64}) * 64;
  g.splits = g.k > 0 ? ceil_div(g.k, g.k_per_split) : 1;
  g.vector = rows && g.v_stride == 1 && vector_aligned(g.x) && vector_aligned(g.v) &&
             (g.out_stride | g.x_batch | g.v_batch) % kVector<T> == 0;

  Output<T> to = out;
  T* scratch = nullptr;
  if (g.splits > 1) {
    scratch = workspace<T>(ctx, static_cast<size_t>(g.outputs * g.splits * batch));
    if (!scratch) return Status::need_workspace;
    to = {};
    to.base = scratch, to.column_stride = 1;
    to.split_stride = g.outputs, to.batch_stride = g.outputs * g.splits;
  }
  const dim3 grid(static_cast<unsigned>(blocks * g.splits)), block(kGemvThreads);
  const Status status =
      rows ? launch<gemv_rows_kernel<T>>(ctx, grid, block, SharedMemory::bytes<T>(kWarpSize), g, to,
                                         shared_rows)
           : launch<gemv_columns_kernel<T>>(ctx, grid, block, SharedMemory::bytes<T>(kGemvThreads), g, to);
  if (status != Status::ok || g.splits == 1) return status;
  return launch<combine_kernel<T>>(ctx,
                                   dim3(static_cast<unsigned>(ceil_div<int64_t>(g.outputs * batch, 256))),
                                   dim3(256), 0, scratch, out, int64_t{1}, g.outputs, g.splits, batch);
}

}  // namespace fastnn::cuda
