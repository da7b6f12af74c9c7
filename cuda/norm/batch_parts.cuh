// A channel of batch normalisation in chunks: what is kept of each, and who has which of its elements.
#pragma once
#include "backend/norm.h"
#include "cuda/common/math.cuh"
#include "cuda/common/row_team.cuh"

namespace fastnn::cuda {

constexpr int kBatchThreads = 256;
constexpr int kStripColumns = 32, kStripRows = kBatchThreads / kStripColumns;
constexpr int64_t kBatchChunk = 4096, kMostStripChunks = 64, kLeastStripRows = 64;
constexpr int kBatchHeld = 8;  // elements of a thread at once

// ---- parts ------------------------------------------------------------------------------------------------

template <class T>
struct Moments {
  T count = T(0), mean = T(0), squares = T(0);  // squares: the sum of (x - mean)^2

  template <class U>
  __device__ void merge(const Moments<U>& other) {
    const T total = count + other.count;
    if (total == T(0)) return;
    const T apart = other.mean - mean, share = other.count / total;
    mean += apart * share;
    squares += other.squares + apart * (count * share) * apart;
    count = total;
  }
  __device__ Moments shuffle(int distance) const {
    Moments m;
    m.count = __shfl_xor_sync(kFullWarp, count, distance);
    m.mean = __shfl_xor_sync(kFullWarp, mean, distance);
    m.squares = __shfl_xor_sync(kFullWarp, squares, distance);
    return m;
  }
};
template <class T>
struct GradientSums {
  T g = T(0), gh = T(0);

  template <class U>
  __device__ void merge(const GradientSums<U>& other) {
    g += other.g;
    gh += other.gh;
  }
  __device__ GradientSums shuffle(int distance) const {
    GradientSums s;
    s.g = __shfl_xor_sync(kFullWarp, g, distance);
    s.gh = __shfl_xor_sync(kFullWarp, gh, distance);
    return s;
  }
};
template <class Part>
__device__ Part merge_warp(Part part) {  // lane 0 has the result
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) part.merge(part.shuffle(distance));
  return part;
}

// V elements go at a time: 1, or kVector where runs are multiples of it, whether or not memory is aligned:
// who has which element depends on the shape alone.

// ---- a block's elements -----------------------------------------------------------------------------------

// Lengths along `inner` count vectors of V elements.
struct BatchShape {
  int64_t n, c, inner, chunks;
  int64_t images;         // runs of a chunk (rows, where inner is 1)
  int64_t piece, pieces;  // a longer run is cut
  FastDivide by_piece;
  bool aligned;

  static BatchShape of(const BatchNormParams& p, int V, bool aligned) {
    BatchShape s{p.n, p.c, p.inner / V, 0, 1, 0, 1, {}, aligned};
    if (p.inner == 1) {
      const int64_t even = ceil_div(p.n, kMostStripChunks);
      s.images = even > kLeastStripRows ? even : kLeastStripRows;
      s.piece = 1;
    } else {
      const int64_t room = kBatchChunk / V;
      s.piece = s.inner < room ? s.inner : room;
      s.pieces = ceil_div(s.inner, s.piece);
      s.images = s.pieces > 1 ? 1 : room / s.inner;
    }
    s.by_piece = FastDivide(static_cast<unsigned>(s.piece));
    s.chunks = ceil_div(p.n, s.images) * s.pieces;
    return s;
  }
};

// Rows: the block has one chunk of one channel. Strip (inner = 1): it has 32 channels, a column of 8 threads
// each, and a chunk of their rows.
template <bool strip>
struct BatchPlace {
  int64_t channel, chunk, first;
  int64_t run_stride;
  int count, piece, start, step;  // the thread's elements are start, start + step, ... < count
  FastDivide by_piece;

  __device__ explicit BatchPlace(const BatchShape& s)
      : piece(static_cast<int>(s.piece)), by_piece(s.by_piece) {
    if (strip) {
      channel = static_cast<int64_t>(blockIdx.x) * kStripColumns + threadIdx.x;
      chunk = blockIdx.y;
      start = threadIdx.y, step = kStripRows;
    } else {
      channel = blockIdx.x / s.chunks;
      chunk = blockIdx.x % s.chunks;
      start = threadIdx.x, step = kBatchThreads;
    }
    const int64_t image = chunk / s.pieces * s.images, at = chunk % s.pieces * s.piece;
    const int64_t runs = s.n - image < s.images ? s.n - image : s.images;
    const int64_t length = s.inner - at < s.piece ? s.inner - at : s.piece;
    first = (image * s.c + channel) * s.inner + at;
    run_stride = s.c * s.inner;
    count = channel < s.c ? static_cast<int>(runs * length) : 0;
  }
  __device__ int64_t offset(int i) const {
    const int run = strip ? i : static_cast<int>(by_piece.quotient(static_cast<unsigned>(i)));
    return first + run * run_stride + (strip ? 0 : i - run * piece);
  }
  // Calls f(i) for the beginnings of what the thread takes at once, `held` vectors.
  template <int held, class F>
  __device__ void each(F&& f) const {
    for (int i = start; i < count; i += held * step) f(i);
  }
};

// Writes the block's parts, one for each of its channels.
template <bool strip, class Part>
__device__ void leave(const BatchPlace<strip>& place, const BatchShape& s, Part part, Part* parts,
                      Part* scratch) {
  const int64_t at = place.channel * s.chunks + place.chunk;
  if (strip) {
    scratch[threadIdx.y * kStripColumns + threadIdx.x] = part;
    __syncthreads();
    if (threadIdx.y != 0 || place.channel >= s.c) return;
    for (int r = 1; r < kStripRows; ++r) part.merge(scratch[r * kStripColumns + threadIdx.x]);
    parts[at] = part;
  } else {
    part = merge_warp(part);
    if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = part;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < kBatchThreads / kWarpSize; ++warp) part.merge(scratch[warp]);
    parts[at] = part;
  }
}

}  // namespace fastnn::cuda
