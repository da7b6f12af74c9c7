// A channel of batch normalisation in chunks: what is kept of each, who has which of its elements, and who
// brings the chunks together.
#pragma once
#include "backend/norm.h"
#include "cuda/common/last_block.cuh"
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
  __device__ static Moments load(const Moments* from) {  // which another block has written
    return {__ldcg(&from->count), __ldcg(&from->mean), __ldcg(&from->squares)};
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
  __device__ static GradientSums load(const GradientSums* from) {
    return {__ldcg(&from->g), __ldcg(&from->gh)};
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
  int64_t tiles, together;  // tiles of channels, and how many share a ticket

  static BatchShape of(const BatchNormParams& p, int V, bool aligned) {
    BatchShape s{p.n, p.c, p.inner / V, 0, 1, 0, 1, {}, aligned, p.c, 1};
    if (p.inner == 1) {
      const int64_t even = ceil_div(p.n, kMostStripChunks);
      s.images = even > kLeastStripRows ? even : kLeastStripRows;
      s.piece = 1;
      s.tiles = ceil_div<int64_t>(p.c, kStripColumns);
    } else {
      const int64_t room = kBatchChunk / V;
      s.piece = s.inner < room ? s.inner : room;
      s.pieces = ceil_div(s.inner, s.piece);
      s.images = s.pieces > 1 ? 1 : room / s.inner;
    }
    s.by_piece = FastDivide(static_cast<unsigned>(s.piece));
    s.chunks = ceil_div(p.n, s.images) * s.pieces;
    s.together = ceil_div<int64_t>(s.tiles, kTickets);
    return s;
  }
};

// Rows: the block has one chunk of one channel. Strip (inner = 1): it has 32 channels, a column of 8 threads
// each, and a chunk of their rows.
template <bool strip>
struct BatchPlace {
  static constexpr int kTile = strip ? kStripColumns : 1;  // channels
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
  __device__ static int64_t channel_tile(const BatchShape& s) {
    return strip ? blockIdx.x : blockIdx.x / s.chunks;
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
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  if (strip) {
    scratch[threadIdx.y * kStripColumns + threadIdx.x] = part;
  } else {
    part = merge_warp(part);
    if (threadIdx.x % kWarpSize == 0) scratch[warp] = part;
  }
  __syncthreads();
  if (strip ? threadIdx.y != 0 || place.channel >= s.c : threadIdx.x != 0) return;
  constexpr int others = strip ? kStripRows : kBatchThreads / kWarpSize;
  for (int r = 1; r < others; ++r) part.merge(scratch[strip ? r * kStripColumns + threadIdx.x : r]);
  parts[place.channel * s.chunks + place.chunk] = part;
}

// Calls finish(k, all) for the channels whose last chunk this block was, with what all of a channel's chunks
// have left brought together in double: a warp has a channel.
template <bool strip, class Whole, class Part, class F>
__device__ void finish_channels(const BatchPlace<strip>& place, const BatchShape& s, const Part* parts,
                                unsigned* tickets, F&& finish) {
  const int64_t tile = place.channel_tile(s), group = tile / s.together, first = group * s.together;
  const int64_t end = s.tiles - first < s.together ? s.tiles : first + s.together;
  if (!is_last_block(tickets + group, static_cast<unsigned>((end - first) * s.chunks))) return;
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x), lane = thread % kWarpSize;
  const int64_t channels = end * place.kTile < s.c ? end * place.kTile : s.c;
  for (int64_t k = first * place.kTile + thread / kWarpSize; k < channels; k += kBatchThreads / kWarpSize) {
    Whole all;
#pragma unroll 4
    for (int64_t i = lane; i < s.chunks; i += kWarpSize) all.merge(Part::load(parts + k * s.chunks + i));
    all = merge_warp(all);
    if (lane == 0) finish(k, all);
  }
}

}  // namespace fastnn::cuda
