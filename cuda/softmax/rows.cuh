// Softmax of contiguous rows and its gradient. Up to what a block's registers hold, a row is read once and
// written once, which is the floor. Longer rows are cut into chunks and read twice: a first kernel leaves
// each chunk's sum in the workspace, a second one brings them together and writes (Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018).
#pragma once
#include "backend/softmax.h"
#include "cuda/softmax/exp_sum.cuh"

namespace fastnn::cuda {

constexpr int kLargestTeam = 1024;
constexpr int kChunkThreads = 256, kMostChunks = 256;
constexpr int64_t kLeastChunk = 8192;

// `logarithmic` is a template argument for the sake of registers: asked at run time, the longest rows spill.
template <class T, bool logarithmic>
__device__ T softmax_of(T x, const ExpSum<T>& whole, T normalizer) {
  return logarithmic ? x - whole.top - normalizer : math_exp(x - whole.top) * normalizer;
}
template <class T, bool logarithmic>
__device__ T normalizer_of(T sum) {
  return logarithmic ? math_log(sum) : T(1) / sum;
}
// dx = y (dy - sum dy y), or dy - e^y sum dy
template <class T, bool logarithmic>
__device__ T term_of(T y, T dy) {
  return logarithmic ? dy : dy * y;
}
template <class T, bool logarithmic>
__device__ T gradient_of(T y, T dy, T sum) {
  return logarithmic ? math_fma(-math_exp(y), sum, dy) : y * (dy - sum);
}

template <class T, bool logarithmic, int N, int V, int most>
__global__ void __launch_bounds__(most, 1)
    softmax_held(T* y, const T* x, int64_t rows, Row<T, V> shape, int threads) {
  const TeamRow<T> at(threads);
  const int64_t first = at.row * shape.size;
  if (at.row >= rows) shape.size = 0;
  T v[N];
  shape.load_all(at.team, x + first, v, minus_infinity<T>());
  ExpSum<T> whole;
#pragma unroll
  for (int j = 0; j < N; ++j) whole.top = Larger()(v[j], whole.top);
  whole.top = at.team.reduce(whole.top, Larger(), minus_infinity<T>());
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const T e = math_exp(v[j] - whole.top);
    if (!logarithmic) v[j] = e;
    whole.sum += e;
  }
  const T normalizer = normalizer_of<T, logarithmic>(at.team.reduce(whole.sum, Plus(), T(0)));
#pragma unroll
  for (int j = 0; j < N; ++j) v[j] = logarithmic ? v[j] - whole.top - normalizer : v[j] * normalizer;
  shape.store_all(at.team, y + first, v);
}

template <class T, bool logarithmic, int N, int V, int most>
__global__ void __launch_bounds__(most, 1)
    softmax_backward_held(T* dx, const T* dy, const T* y, int64_t rows, Row<T, V> shape, int threads) {
  const TeamRow<T> at(threads);
  const int64_t first = at.row * shape.size;
  if (at.row >= rows) shape.size = 0;
  T v[N], g[N];
  shape.load_all(at.team, y + first, v, T(0));
  shape.load_all(at.team, dy + first, g, T(0));
  T sum = T(0);
#pragma unroll
  for (int j = 0; j < N; ++j) sum += term_of<T, logarithmic>(v[j], g[j]);
  sum = at.team.reduce(sum, Plus(), T(0));
#pragma unroll
  for (int j = 0; j < N; ++j) g[j] = gradient_of<T, logarithmic>(v[j], g[j], sum);
  shape.store_all(at.team, dx + first, g);
}

// ---- long rows --------------------------------------------------------------------------------------------
// Block b has chunk b mod chunks of row b / chunks.
template <class T, int V>
struct RowChunk {
  Team<T> team;
  Row<T, V> shape;
  int64_t row, first;  // `first` counts from the row's beginning of memory

  __device__ RowChunk(const Row<T, V>& whole, int64_t chunk, int64_t chunks, SharedMemory& shared)
      : shape(whole) {
    team = {kChunkThreads, static_cast<int>(threadIdx.x), shared.take<T>(kWarpSize)};
    row = blockIdx.x / chunks;
    const int64_t begin = blockIdx.x % chunks * chunk;
    shape.size = whole.size - begin < chunk ? whole.size - begin : chunk;
    first = row * whole.size + begin;
  }
};

template <class T, int V>
__global__ void __launch_bounds__(kChunkThreads, 1)
    softmax_chunk(ExpSum<T>* partial, const T* x, Row<T, V> whole, int64_t chunk, int64_t chunks) {
  constexpr int N = kHeld<T, 64>;
  SharedMemory shared;
  const RowChunk<T, V> at(whole, chunk, chunks, shared);
  ExpSum<T> part;
  for (int64_t i = 0; i < at.shape.size; i += N * kChunkThreads) {
    T v[N];
    const Row<T, V> rest{at.shape.size - i, at.shape.aligned};
    rest.load_all(at.team, x + at.first + i, v, minus_infinity<T>());
    add_exponentials(part, v);
  }
  part = merge(at.team, part);
  if (threadIdx.x == 0) partial[blockIdx.x] = part;
}

template <class T, bool logarithmic, int V>
__global__ void __launch_bounds__(kChunkThreads, 1)
    softmax_finish(T* y, const T* x, const ExpSum<T>* partial, Row<T, V> whole, int64_t chunk,
                   int64_t chunks) {
  constexpr int N = kHeld<T, 64>;
  SharedMemory shared;
  const RowChunk<T, V> at(whole, chunk, chunks, shared);
  ExpSum<T> sum;
  if (threadIdx.x < chunks) sum = partial[at.row * chunks + threadIdx.x];
  sum = merge(at.team, sum);
  const T normalizer = normalizer_of<T, logarithmic>(sum.sum);
  for (int64_t i = 0; i < at.shape.size; i += N * kChunkThreads) {
    T v[N];
    const Row<T, V> rest{at.shape.size - i, at.shape.aligned};
    rest.load_all(at.team, x + at.first + i, v, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = softmax_of<T, logarithmic>(v[j], sum, normalizer);
    rest.store_all(at.team, y + at.first + i, v);
  }
}

template <class T, bool logarithmic, int V>
__global__ void __launch_bounds__(kChunkThreads, 1)
    softmax_backward_chunk(T* partial, const T* dy, const T* y, Row<T, V> whole, int64_t chunk,
                           int64_t chunks) {
  constexpr int N = kHeld<T, 32>;
  SharedMemory shared;
  const RowChunk<T, V> at(whole, chunk, chunks, shared);
  T sum = T(0);
  for (int64_t i = 0; i < at.shape.size; i += N * kChunkThreads) {
    T v[N], g[N];
    const Row<T, V> rest{at.shape.size - i, at.shape.aligned};
    if (!logarithmic) rest.load_all(at.team, y + at.first + i, v, T(0));
    rest.load_all(at.team, dy + at.first + i, g, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) sum += term_of<T, logarithmic>(v[j], g[j]);
  }
  sum = at.team.reduce(sum, Plus(), T(0));
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

template <class T, bool logarithmic, int V>
__global__ void __launch_bounds__(kChunkThreads, 1)
    softmax_backward_finish(T* dx, const T* dy, const T* y, const T* partial, Row<T, V> whole, int64_t chunk,
                            int64_t chunks) {
  constexpr int N = kHeld<T, 32>;
  SharedMemory shared;
  const RowChunk<T, V> at(whole, chunk, chunks, shared);
  const T own = threadIdx.x < chunks ? partial[at.row * chunks + threadIdx.x] : T(0);
  const T sum = at.team.reduce(own, Plus(), T(0));
  for (int64_t i = 0; i < at.shape.size; i += N * kChunkThreads) {
    T v[N], g[N];
    const Row<T, V> rest{at.shape.size - i, at.shape.aligned};
    rest.load_all(at.team, y + at.first + i, v, T(0));
    rest.load_all(at.team, dy + at.first + i, g, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = gradient_of<T, logarithmic>(v[j], g[j], sum);
    rest.store_all(at.team, dx + at.first + i, g);
  }
}

// ---- launching --------------------------------------------------------------------------------------------
// Calls run.operator()<N, most>(threads) for the team that holds rows of `size` elements, N to a thread, or
// returns false. `arrays` rows are held at once.
template <class T, int arrays, class F>
bool with_team(int64_t size, const F& run) {
  constexpr int kFew = kFewHeld<T>, kSome = kHeld<T, 64>;
  constexpr int kMany = arrays == 1 && sizeof(T) == 4 ? 2 * kSome : kSome;
  if (size <= kFew * kWarpSize)
    run.template operator()<kFew, kRowThreads>(power_of_two(ceil_div<int64_t>(size, kFew), kWarpSize));
  else if (size <= kSome * kWarpSize)
    run.template operator()<kSome, kRowThreads>(kWarpSize);
  else if (size <= kSome * kLargestTeam)
    run.template operator()<kSome, kLargestTeam>(power_of_two(ceil_div<int64_t>(size, kSome), kLargestTeam));
  else if (size <= kMany * kLargestTeam)
    run.template operator()<kMany, kLargestTeam>(kLargestTeam);
  else
    return false;
  return true;
}
// Calls run(row) with the Row for rows of `size` elements.
template <class T, class F>
Status with_row(int64_t size, bool aligned, const F& run) {
  if (size % kVector<T> == 0) return run(Row<T, kVector<T>>{size, aligned});
  return run(Row<T, 1>{size, false});
}

struct Chunks {
  int64_t chunk, count;
  template <class T>
  static Chunks of(int64_t size) {
    const int64_t even = ceil_div<int64_t>(size, kMostChunks),
                  chunk = even > kLeastChunk ? ceil_div(even, kLeastChunk) * kLeastChunk : kLeastChunk;
    return {chunk, ceil_div(size, chunk)};
  }
};

template <class T, bool logarithmic>
Status softmax_rows(Context& ctx, const SoftmaxParams& p) {
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  return with_row<T>(p.size, vector_aligned(x) && vector_aligned(y), [&]<int V>(const Row<T, V>& row) {
    Status status = Status::ok;
    if (with_team<T, 1>(p.size, [&]<int N, int most>(int threads) {
          const TeamGrid g = team_grid<T>(p.outer, threads);
          status = launch<softmax_held<T, logarithmic, N, V, most>>(ctx, g.grid, g.block, g.shared, y, x,
                                                                    p.outer, row, threads);
        }))
      return status;
    const Chunks c = Chunks::of<T>(p.size);
    auto* partial = workspace<ExpSum<T>>(ctx, static_cast<size_t>(p.outer * c.count));
    if (!partial) return Status::need_workspace;
    const dim3 grid(static_cast<unsigned>(p.outer * c.count));
    const size_t shared = SharedMemory::bytes<T>(kWarpSize);
    status = launch<softmax_chunk<T, V>>(ctx, grid, kChunkThreads, shared, partial, x, row, c.chunk, c.count);
    if (status != Status::ok) return status;
    return launch<softmax_finish<T, logarithmic, V>>(ctx, grid, kChunkThreads, shared, y, x, partial, row,
                                                     c.chunk, c.count);
  });
}

template <class T, bool logarithmic>
Status softmax_backward_rows(Context& ctx, const SoftmaxParams& p) {
  T* dx = static_cast<T*>(p.y);
  const T* y = static_cast<const T*>(p.x);
  const T* dy = static_cast<const T*>(p.dy);
  const bool aligned = vector_aligned(dx) && vector_aligned(y) && vector_aligned(dy);
  return with_row<T>(p.size, aligned, [&]<int V>(const Row<T, V>& row) {
    Status status = Status::ok;
    if (with_team<T, 2>(p.size, [&]<int N, int most>(int threads) {
          const TeamGrid g = team_grid<T>(p.outer, threads);
          status = launch<softmax_backward_held<T, logarithmic, N, V, most>>(
              ctx, g.grid, g.block, g.shared, dx, dy, y, p.outer, row, threads);
        }))
      return status;
    const Chunks c = Chunks::of<T>(p.size);
    T* partial = workspace<T>(ctx, static_cast<size_t>(p.outer * c.count));
    if (!partial) return Status::need_workspace;
    const dim3 grid(static_cast<unsigned>(p.outer * c.count));
    const size_t shared = SharedMemory::bytes<T>(kWarpSize);
    status = launch<softmax_backward_chunk<T, logarithmic, V>>(ctx, grid, kChunkThreads, shared, partial, dy,
                                                               y, row, c.chunk, c.count);
    if (status != Status::ok) return status;
    return launch<softmax_backward_finish<T, logarithmic, V>>(ctx, grid, kChunkThreads, shared, dx, dy, y,
                                                              partial, row, c.chunk, c.count);
  });
}

}  // namespace fastnn::cuda
