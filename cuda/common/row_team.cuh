// A row of a matrix and the threads that share it: a team, part of a warp or a whole block.
//
// Every warp has a stretch of the row, dealt out among its threads one by one, or, where the row's length is
// a multiple of kVector, a vector at a time. So who has which element depends on lengths only, and so do the
// bits.
#pragma once
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {

struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// `threads` is a power of two. Up to 32 of them share a warp with other teams; more are a block, which lends
// 32 elements of shared memory.
template <class T>
struct Team {
  int threads, rank;
  T* scratch;

  template <class F>
  __device__ T reduce(T v, F combine, T identity) const {
    if (threads > kWarpSize) return block_reduce(v, combine, identity, scratch);
    for (int distance = threads / 2; distance > 0; distance /= 2)
      v = combine(v, __shfl_xor_sync(kFullWarp, v, distance));
    return v;
  }
};

// Elements of a thread by the bytes that may stand in its registers. Teams of less than a warp hold
// kFewHeld.
template <class T, int bytes>
constexpr int kHeld = bytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kFewHeld = kHeld<T, 16>;

// V elements at a time: 1, or kVector where lengths are multiples of it.
template <class T, int V>
struct Row {
  int64_t size;
  bool aligned;  // with V > 1: whether pointers are, too

  __device__ void load(const T* x, int at, T* v) const {
    const auto vector = Vector<T, V>::load(x + at, aligned);
#pragma unroll
    for (int c = 0; c < V; ++c) v[c] = vector.v[c];
  }
  __device__ void store(T* y, int at, const T* v) const {
    Vector<T, V> vector;
#pragma unroll
    for (int c = 0; c < V; ++c) vector.v[c] = v[c];
    vector.store(y + at, aligned);
  }
  // Calls f(j, at) for the team member's elements j, j + 1 ... j + V - 1, those from `at` on.
  template <int N, class F>
  __device__ void each(const Team<T>& team, F&& f) const {
    const int width = N == kFewHeld<T> && team.threads < kWarpSize ? team.threads : kWarpSize;
    const int first = (team.rank / width * width * (N / V) + team.rank % width) * V;
#pragma unroll
    for (int j = 0; j < N; j += V) f(j, first + j * width);
  }
  template <int N>
  __device__ int reach(const Team<T>& team) const {  // this many elements are there for the team
    return static_cast<int>(size < N * team.threads ? size : N * team.threads);
  }
  // v = the team member's N elements of x; `absent` beyond the end.
  template <int N>
  __device__ void load_all(const Team<T>& team, const T* x, T (&v)[N], T absent) const {
    const int end = reach<N>(team);
    each<N>(team, [&](int j, int at) {
      if (at < end) {
        load(x, at, v + j);
      } else {
#pragma unroll
        for (int c = 0; c < V; ++c) v[j + c] = absent;
      }
    });
  }
  template <int N>
  __device__ void store_all(const Team<T>& team, T* y, const T (&v)[N]) const {
    const int end = reach<N>(team);
    each<N>(team, [&](int j, int at) {
      if (at < end) store(y, at, v + j);
    });
  }
};

// How teams share out the rows of a grid: blocks of kRowThreads hold several small teams, a larger team is a
// block.
constexpr int kRowThreads = 128;
template <class T>
struct TeamRow {
  Team<T> team;
  int64_t row;

  __device__ explicit TeamRow(int threads) {
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    SharedMemory shared;
    team.threads = threads;
    team.rank = static_cast<int>(threadIdx.x) & (threads - 1);
    team.scratch = threads > kWarpSize ? shared.take<T>(kWarpSize) : nullptr;
    row = thread / threads;
  }
};
struct TeamGrid {
  dim3 grid;
  unsigned block;
  size_t shared;
};
template <class T>
TeamGrid team_grid(int64_t rows, int threads) {
  const int64_t teams = threads < kRowThreads ? kRowThreads / threads : 1;
  if (threads > kWarpSize)
    return {dim3(static_cast<unsigned>(rows)), static_cast<unsigned>(threads),
            SharedMemory::bytes<T>(kWarpSize)};
  return {dim3(static_cast<unsigned>(ceil_div(rows, teams))), kRowThreads, 0};
}

}  // namespace fastnn::cuda
