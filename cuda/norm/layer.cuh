// Layer normalisation: every row of a matrix by its own mean and deviation. A team of threads holds a row in
// its registers, so that it is read and written once; rows longer than that are read again, from the cache
// where they fit. Backward, with h = (x - mean) rstd and g = dy weight:
//
//   dx = rstd (g - mean(g) - h mean(g h))     dweight = sum over rows of dy h     dbias = sum over rows of dy
//
// The sums over rows have two stages: a block leaves those of its rows, which the last block adds up where
// they are few, else a second launch. Which rows a block has depends on the shape alone.
#pragma once
#include "backend/norm.h"
#include "cuda/common/last_block.cuh"
#include "cuda/common/math.cuh"
#include "cuda/softmax/rows.cuh"

namespace fastnn::cuda {

constexpr int kNormTeam = 512;                   // largest; leaves a thread 128 registers
constexpr int kNormColumns = 32, kNormRows = 8;  // of a block that sums down columns of long rows
constexpr int kSumLanes = 32;                    // threads that add up what blocks have left of a column

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

// What a block leaves of its rows, `sums` (blocks x 2 x size): those of dy h, then those of dy. Null: nobody
// asked.
template <class T>
struct RowSums {
  T* sums;
  int64_t block_rows;
  unsigned* ticket;  // the last block adds up; null: another launch does

  // The sum of one of the 2 size columns over the blocks from `first` on, `step` apart.
  __device__ static T over_blocks(const T* sums, int64_t column, int64_t size, int64_t first, int64_t step,
                                  int64_t blocks) {
    T sum = T(0);
#pragma unroll 8
    for (int64_t b = first; b < blocks; b += step) sum += __ldcg(sums + b * 2 * size + column);
    return sum;
  }
  __device__ static void put(const LayerNormParams& p, int64_t column, T sum) {
    T* const out = static_cast<T*>(column < p.size ? p.dweight : p.dbias);
    if (out) out[column < p.size ? column : column - p.size] = sum;
  }
};

// Rows that a team's registers hold. The teams of a block take turns, and a thread keeps the sums of its
// columns until all rows of the block have gone by: x and dy are read once.
template <class T, int N, int V, int most>
__global__ void __launch_bounds__(most, 1)
    layer_norm_backward_kernel(LayerNormParams p, Row<T, V> shape, int threads, RowSums<T> out) {
  const Team<T> team = TeamRow<T>(threads).team;
  const int teams = static_cast<int>(blockDim.x) / threads, turn = static_cast<int>(threadIdx.x) / threads;
  T dw[N] = {}, db[N] = {};
  for (int64_t r = turn; r - turn < out.block_rows; r += teams) {
    const int64_t at = blockIdx.x * out.block_rows + r, first = at * p.size;
    const bool inside = r < out.block_rows && at < p.rows;
    const Row<T, V> row{inside ? shape.size : 0, shape.aligned};
    const T mean = inside ? static_cast<const T*>(p.mean)[at] : T(0);
    const T rstd = inside ? static_cast<const T*>(p.rstd)[at] : T(0);
    T h[N], g[N];
    row.load_all(team, static_cast<const T*>(p.x) + first, h, T(0));
    row.load_all(team, static_cast<const T*>(p.dy) + first, g, T(0));
    T sum = T(0), sum_h = T(0);
    each_present<T, V, N>(row, team, [&](int j, int place) {
      T w[V];
      load_parameter(row, static_cast<const T*>(p.weight), place, T(1), w);
#pragma unroll
      for (int c = 0; c < V; ++c) {
        h[j + c] = (h[j + c] - mean) * rstd;
        dw[j + c] = math_fma(g[j + c], h[j + c], dw[j + c]);
        db[j + c] += g[j + c];
        g[j + c] *= w[c];
        sum += g[j + c];
        sum_h = math_fma(g[j + c], h[j + c], sum_h);
      }
    });
    if (!p.dx) continue;
    const T mean_g = team.reduce(sum, Plus(), T(0)) / static_cast<T>(p.size);
    const T mean_gh = team.reduce(sum_h, Plus(), T(0)) / static_cast<T>(p.size);
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = rstd * (g[j] - math_fma(h[j], mean_gh, mean_g));
    row.store_all(team, static_cast<T*>(p.dx) + first, g);
  }
  if (!out.sums) return;

  T* const own = out.sums + static_cast<int64_t>(blockIdx.x) * 2 * p.size;
  if (teams == 1) {
    const Row<T, V> row{shape.size, true};
    row.store_all(team, own, dw);
    row.store_all(team, own + p.size, db);
  } else {
    SharedMemory shared;
    T* const scratch = shared.take<T>(static_cast<size_t>(2 * N) * blockDim.x);
    const int size = static_cast<int>(p.size);
    each_present<T, V, N>(shape, team, [&](int j, int place) {
#pragma unroll
      for (int c = 0; c < V; ++c) {
        scratch[turn * 2 * size + place + c] = dw[j + c];
        scratch[(turn * 2 + 1) * size + place + c] = db[j + c];
      }
    });
    __syncthreads();
    for (int column = threadIdx.x; column < 2 * size; column += blockDim.x) {
      T sum = scratch[column];
      for (int t = 1; t < teams; ++t) sum += scratch[t * 2 * size + column];
      own[column] = sum;
    }
  }
  if (!out.ticket || !is_last_block(out.ticket, gridDim.x)) return;
  for (int64_t column = threadIdx.x; column < 2 * p.size; column += blockDim.x)
    out.put(p, column, out.over_blocks(out.sums, column, p.size, 0, 1, gridDim.x));
}

// ---- long rows: dx and the sums one after the other

template <class T, int N, int V>
__global__ void __launch_bounds__(kNormTeam, 1)
    layer_norm_long_dx_kernel(LayerNormParams p, Row<T, V> shape) {
  const TeamRow<T> at(kNormTeam);
  const int64_t first = at.row * p.size;
  const T mean = static_cast<const T*>(p.mean)[at.row], rstd = static_cast<const T*>(p.rstd)[at.row];
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
  constexpr int64_t step = static_cast<int64_t>(N) * kNormTeam;

  T sum = T(0), sum_h = T(0);
  for (int64_t i = 0; i < shape.size; i += step) {
    load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      sum += g[j];
      sum_h = math_fma(g[j], h[j], sum_h);
    }
  }
  const T mean_g = at.team.reduce(sum, Plus(), T(0)) / static_cast<T>(p.size);
  const T mean_gh = at.team.reduce(sum_h, Plus(), T(0)) / static_cast<T>(p.size);
  for (int64_t i = 0; i < shape.size; i += step) {
    const Row<T, V> rest = load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = rstd * (g[j] - math_fma(h[j], mean_gh, mean_g));
    rest.store_all(at.team, static_cast<T*>(p.dx) + first + i, g);
  }
}

template <class T>
__global__ void __launch_bounds__(kNormColumns* kNormRows, 1)
    layer_norm_columns_kernel(LayerNormParams p, RowSums<T> out) {
  SharedMemory shared;
  T* const scratch = shared.take<T>(2 * kNormRows * kNormColumns);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kNormColumns + threadIdx.x;
  const int64_t first = blockIdx.y * out.block_rows, behind = first + out.block_rows;
  const int64_t end = column >= p.size ? 0 : behind < p.rows ? behind : p.rows;
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
  out.sums[(static_cast<int64_t>(blockIdx.y) * 2 + threadIdx.y) * p.size + column] = sum;
}

// Columns of what blocks have left, by whole lines.
template <class T>
__global__ void __launch_bounds__(kNormColumns* kSumLanes, 1)
    layer_norm_finish_kernel(LayerNormParams p, const T* sums, int64_t blocks) {
  SharedMemory shared;
  T* const scratch = shared.take<T>(kSumLanes * kNormColumns) + threadIdx.x;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kNormColumns + threadIdx.x;
  if (column < 2 * p.size)
    scratch[threadIdx.y * kNormColumns] =
        RowSums<T>::over_blocks(sums, column, p.size, threadIdx.y, kSumLanes, blocks);
  __syncthreads();
  if (threadIdx.y != 0 || column >= 2 * p.size) return;
  T sum = scratch[0];
  for (int lane = 1; lane < kSumLanes; ++lane) sum += scratch[lane * kNormColumns];
  RowSums<T>::put(p, column, sum);
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

// Rows of a block that keeps their sums in registers: enough blocks to fill the largest GPUs, and not so many
// that what they leave is much beside what they read.
struct RowShare {
  int64_t block_rows, blocks;

  static RowShare held(int64_t rows, int threads) {
    constexpr int64_t kMostThreads = int64_t{1} << 17, kLeastRows = 8;
    const int64_t teams = threads > kWarpSize ? 1 : kRowThreads / threads;
    return of(rows, kMostThreads / (threads > kRowThreads ? threads : kRowThreads),
              kLeastRows > 2 * teams ? kLeastRows : 2 * teams);
  }
  static RowShare of_long(int64_t rows) { return of(rows, 64, 32); }

 private:
  static RowShare of(int64_t rows, int64_t most_blocks, int64_t least_rows) {
    const int64_t even = ceil_div(rows, most_blocks), block_rows = even > least_rows ? even : least_rows;
    return {block_rows, ceil_div(rows, block_rows)};
  }
};
constexpr int64_t kFewRowBlocks = 16;  // up to here the last one adds up what they leave

template <class T>
Status layer_norm_gradients(Context& ctx, const LayerNormParams& p) {
  const bool aligned =
      vector_aligned(p.x) && vector_aligned(p.dx) && vector_aligned(p.dy) && vector_aligned(p.weight);
  return with_row<T>(p.size, aligned, [&]<int V>(const Row<T, V>& row) {
    return with_norm_team<T>(p.size, [&]<int N, int most, bool held>(int threads) {
      const RowShare share = held ? RowShare::held(p.rows, threads) : RowShare::of_long(p.rows);
      const bool summed = p.dweight || p.dbias,
                 few = held && share.blocks >= 1 && share.blocks <= kFewRowBlocks;
      T* const sums = summed ? workspace<T>(ctx, static_cast<size_t>(2 * share.blocks * p.size)) : nullptr;
      if (summed && !sums) return Status::need_workspace;
      const RowSums<T> out{sums, share.block_rows, few ? ctx.tickets : nullptr};
      Status status = Status::ok;
      if constexpr (held) {
        const unsigned block = static_cast<unsigned>(threads > kWarpSize ? threads : kRowThreads);
        const size_t shared = threads > kWarpSize
                                  ? SharedMemory::bytes<T>(kWarpSize)
                                  : SharedMemory::bytes<T>(static_cast<size_t>(2 * N) * block);
        status = launch<layer_norm_backward_kernel<T, N, V, most>>(ctx, static_cast<unsigned>(share.blocks),
                                                                   block, shared, p, row, threads, out);
      } else {
        if (p.dx)
          status = launch<layer_norm_long_dx_kernel<T, N, V>>(ctx, static_cast<unsigned>(p.rows), kNormTeam,
                                                              SharedMemory::bytes<T>(kWarpSize), p, row);
        const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(p.size, kNormColumns)),
                        static_cast<unsigned>(share.blocks));
        if (summed && status == Status::ok)
          status = launch<layer_norm_columns_kernel<T>>(ctx, grid, dim3(kNormColumns, kNormRows),
                                                        SharedMemory::bytes<T>(2 * kNormRows * kNormColumns),
                                                        p, out);
      }
      if (status != Status::ok || !summed || few) return status;
      const T* const all = sums;
      return launch<layer_norm_finish_kernel<T>>(
          ctx, static_cast<unsigned>(ceil_div<int64_t>(2 * p.size, kNormColumns)),
          dim3(kNormColumns, kSumLanes), SharedMemory::bytes<T>(kSumLanes * kNormColumns), p, all,
          share.blocks);
    });
  });
}

}  // namespace fastnn::cuda
