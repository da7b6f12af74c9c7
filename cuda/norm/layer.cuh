// Layer normalisation: every row of a matrix by its own mean and deviation. A team of threads holds a row in
// its registers, so that it is read and written once; rows longer than that are read again, from the cache
// where they fit. Backward, with h = (x - mean) rstd and g = dy weight:
//
//   dx = rstd (g - mean(g) - h mean(g h))     dweight = sum over rows of dy h     dbias = sum over rows of dy
//
// The sums over rows are columns of their own, in two stages whose blocks depend on the shape alone.
#pragma once
#include "backend/norm.h"
#include "cuda/common/math.cuh"
#include "cuda/softmax/rows.cuh"

namespace fastnn::cuda {

constexpr int kNormTeam = 512;                   // largest; leaves a thread 128 registers
constexpr int kNormColumns = 32, kNormRows = 8;  // of a block that sums down columns
constexpr int64_t kMostRowBlocks = 64, kLeastBlockRows = 32;

// Calls f(j, at) for the team member's vectors of a row that exist.
template <class T, int V, int N, class F>
__device__ void each_present(const Row<T, V>& row, const Team<T>& team, F&& f) {
  const int end = row.template reach<N>(team);
  row.template each<N>(team, [&](int j, int at) {
    if (at < end) f(j, at);
  });
}
// V elements of a weight or bias, or `otherwise` where there is none.
template <class T, int V>
__device__ void load_parameter(const Row<T, V>& row, const T* from, int64_t at, T otherwise, T* v) {
  if (from) return row.load(from + at, 0, v);
#pragma unroll
  for (int c = 0; c < V; ++c) v[c] = otherwise;
}

template <class T, int N, int V, int most, bool held>
__global__ void __launch_bounds__(most, 1)
    layer_norm_kernel(LayerNormParams p, Row<T, V> shape, int threads) {
  const TeamRow<T> at(threads);
  const bool inside = at.row < p.rows;
  if (!inside) shape.size = 0;
  const T* const x = static_cast<const T*>(p.x) + at.row * p.size;
  T v[N];
  auto load = [&](int64_t i) {
    const Row<T, V> rest{shape.size - i, shape.aligned};
    rest.load_all(at.team, x + i, v, T(0));
    return rest;
  };
  const int64_t step = static_cast<int64_t>(N) * threads;

  T sum = T(0);
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += step) {
    load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += v[j];
  }
  const T near = at.team.reduce(sum, Plus(), T(0)) / static_cast<T>(p.size);
  T rest_sum = T(0), squares = T(0);  // of x - near: what rounding left of the mean, and the variance
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += step) {
    const Row<T, V> rest = held ? shape : load(i);
    each_present<T, V, N>(rest, at.team, [&](int j, int) {
#pragma unroll
      for (int c = 0; c < V; ++c) {
        const T d = v[j + c] - near;
        rest_sum += d;
        squares = math_fma(d, d, squares);
      }
    });
  }
  rest_sum = at.team.reduce(rest_sum, Plus(), T(0)) / static_cast<T>(p.size);
  squares = at.team.reduce(squares, Plus(), T(0)) / static_cast<T>(p.size);
  const T mean = near + rest_sum;
  const T rstd = T(1) / math_sqrt(squares - rest_sum * rest_sum + static_cast<T>(p.eps));
  if (inside && at.team.rank == 0) {
    static_cast<T*>(p.mean)[at.row] = mean;
    static_cast<T*>(p.rstd)[at.row] = rstd;
  }
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += step) {
    const Row<T, V> rest = held ? shape : load(i);
    each_present<T, V, N>(rest, at.team, [&](int j, int place) {
      T w[V], b[V];
      load_parameter(rest, static_cast<const T*>(p.weight), i + place, T(1), w);
      load_parameter(rest, static_cast<const T*>(p.bias), i + place, T(0), b);
#pragma unroll
      for (int c = 0; c < V; ++c) w[c] = math_fma((v[j + c] - mean) * rstd, w[c], b[c]);
      rest.store(static_cast<T*>(p.y) + at.row * p.size + i, place, w);
    });
  }
}

template <class T, int N, int V, int most, bool held>
__global__ void __launch_bounds__(most, 1)
    layer_norm_backward_kernel(LayerNormParams p, Row<T, V> shape, int threads) {
  const TeamRow<T> at(threads);
  const bool inside = at.row < p.rows;
  if (!inside) shape.size = 0;
  const int64_t first = at.row * p.size;
  const T mean = inside ? static_cast<const T*>(p.mean)[at.row] : T(0);
  const T rstd = inside ? static_cast<const T*>(p.rstd)[at.row] : T(0);
  T h[N], g[N];
  auto load = [&](int64_t i) {
    const Row<T, V> rest{shape.size - i, shape.aligned};
    rest.load_all(at.team, static_cast<const T*>(p.x) + first + i, h, T(0));
    rest.load_all(at.team, static_cast<const T*>(p.dy) + first + i, g, T(0));
    each_present<T, V, N>(rest, at.team, [&](int j, int place) {
      T w[V];
      load_parameter(rest, static_cast<const T*>(p.weight), i + place, T(1), w);
#pragma unroll
      for (int c = 0; c < V; ++c) {
        h[j + c] = (h[j + c] - mean) * rstd;
        g[j + c] *= w[c];
      }
    });
    return rest;
  };
  const int64_t step = static_cast<int64_t>(N) * threads;

  T sum = T(0), sum_h = T(0);
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += step) {
    load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      sum += g[j];
      sum_h = math_fma(g[j], h[j], sum_h);
    }
  }
  const T mean_g = at.team.reduce(sum, Plus(), T(0)) / static_cast<T>(p.size);
  const T mean_gh = at.team.reduce(sum_h, Plus(), T(0)) / static_cast<T>(p.size);
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += step) {
    const Row<T, V> rest = held ? shape : load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = rstd * (g[j] - math_fma(h[j], mean_gh, mean_g));
    rest.store_all(at.team, static_cast<T*>(p.dx) + first + i, g);
  }
}

// ---- sums over rows ---------------------------------------------------------------------------------------

// sums (blocks x 2 x size) of dy h and dy over the rows of each block.
template <class T>
__global__ void __launch_bounds__(kNormColumns* kNormRows, 1)
    layer_norm_columns_kernel(T* sums, LayerNormParams p, int64_t block_rows) {
  SharedMemory shared;
  T* const scratch = shared.take<T>(2 * kNormRows * kNormColumns);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kNormColumns + threadIdx.x;
  const int64_t first = blockIdx.y * block_rows;
  const int64_t end = column >= p.size ? 0 : first + block_rows < p.rows ? first + block_rows : p.rows;
  T dw = T(0), db = T(0);
#pragma unroll 4
  for (int64_t row = first + threadIdx.y; row < end; row += kNormRows) {
    const int64_t at = row * p.size + column;
    const T dy = static_cast<const T*>(p.dy)[at];
    const T h = (static_cast<const T*>(p.x)[at] - static_cast<const T*>(p.mean)[row]) *
                static_cast<const T*>(p.rstd)[row];
    dw = math_fma(dy, h, dw);
    db += dy;
  }
  T* const own = scratch + threadIdx.y * kNormColumns + threadIdx.x;
  own[0] = dw;
  own[kNormRows * kNormColumns] = db;
  __syncthreads();
  if (threadIdx.y >= 2 || column >= p.size) return;
  const T* const from = scratch + threadIdx.y * kNormRows * kNormColumns + threadIdx.x;
  T sum = from[0];
  for (int r = 1; r < kNormRows; ++r) sum += from[r * kNormColumns];
  sums[(static_cast<int64_t>(blockIdx.y) * 2 + threadIdx.y) * p.size + column] = sum;
}
template <class T>
__global__ void __launch_bounds__(kRowThreads, 1)
    layer_norm_finish_kernel(T* dweight, T* dbias, const T* sums, int64_t size, int64_t blocks) {
  T* const out = blockIdx.y == 0 ? dweight : dbias;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (!out || column >= size) return;
  T sum = T(0);
#pragma unroll 4
  for (int64_t b = 0; b < blocks; ++b) sum += sums[(b * 2 + blockIdx.y) * size + column];
  out[column] = sum;
}

// ---- launching --------------------------------------------------------------------------------------------

// Calls run.operator()<N, most, held>(threads) for the team that takes rows of `size` elements, N of them to
// a thread at once.
template <class T, class F>
Status with_norm_team(int64_t size, const F& run) {
  constexpr int kFew = kFewHeld<T>, kSome = kHeld<T, 64>;
  if (size <= kFew * kWarpSize)
    return run.template operator()<kFew, kRowThreads, true>(
        power_of_two(ceil_div<int64_t>(size, kFew), kWarpSize));
  if (size <= kSome * kWarpSize) return run.template operator()<kSome, kRowThreads, true>(kWarpSize);
  if (size <= kSome * kNormTeam)
    return run.template operator()<kSome, kNormTeam, true>(
        power_of_two(ceil_div<int64_t>(size, kSome), kNormTeam));
  return run.template operator()<kSome, kNormTeam, false>(kNormTeam);
}

template <class T>
Status layer_norm_forward(Context& ctx, const LayerNormParams& p) {
  const bool aligned =
      vector_aligned(p.x) && vector_aligned(p.y) && vector_aligned(p.weight) && vector_aligned(p.bias);
  return with_row<T>(p.size, aligned, [&]<int V>(const Row<T, V>& row) {
    return with_norm_team<T>(p.size, [&]<int N, int most, bool held>(int threads) {
      const TeamGrid g = team_grid<T>(p.rows, threads);
      return launch<layer_norm_kernel<T, N, V, most, held>>(ctx, g.grid, g.block, g.shared, p, row, threads);
    });
  });
}

template <class T>
Status layer_norm_dx(Context& ctx, const LayerNormParams& p) {
  const bool aligned =
      vector_aligned(p.x) && vector_aligned(p.dx) && vector_aligned(p.dy) && vector_aligned(p.weight);
  return with_row<T>(p.size, aligned, [&]<int V>(const Row<T, V>& row) {
    return with_norm_team<T>(p.size, [&]<int N, int most, bool held>(int threads) {
      const TeamGrid g = team_grid<T>(p.rows, threads);
      return launch<layer_norm_backward_kernel<T, N, V, most, held>>(ctx, g.grid, g.block, g.shared, p, row,
                                                                     threads);
    });
  });
}

template <class T>
Status layer_norm_gradients(Context& ctx, const LayerNormParams& p) {
  const bool summed = p.dweight || p.dbias;
  const int64_t even = ceil_div(p.rows, kMostRowBlocks);
  const int64_t block_rows = even > kLeastBlockRows ? even : kLeastBlockRows;
  const int64_t blocks = ceil_div(p.rows, block_rows);
  T* const sums = summed ? workspace<T>(ctx, static_cast<size_t>(2 * blocks * p.size)) : nullptr;
  if (summed && !sums) return Status::need_workspace;
  Status status = p.dx ? layer_norm_dx<T>(ctx, p) : Status::ok;
  if (!summed || status != Status::ok) return status;
  const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(p.size, kNormColumns)),
                  static_cast<unsigned>(blocks));
  status = launch<layer_norm_columns_kernel<T>>(ctx, grid, dim3(kNormColumns, kNormRows),
                                                SharedMemory::bytes<T>(2 * kNormRows * kNormColumns), sums, p,
                                                block_rows);
  if (status != Status::ok) return status;
  const dim3 columns(static_cast<unsigned>(ceil_div<int64_t>(p.size, kRowThreads)), 2);
  const T* const all = sums;
  return launch<layer_norm_finish_kernel<T>>(ctx, columns, kRowThreads, 0, static_cast<T*>(p.dweight),
                                             static_cast<T*>(p.dbias), all, p.size, blocks);
}

}  // namespace fastnn::cuda
