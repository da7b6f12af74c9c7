// Batch normalisation: every channel of (n, c, inner) by one mean and deviation, over n and inner.
//
// Three launches each way: `gather` leaves a Part of every chunk of a channel in the workspace, `finish`
// brings a channel's together in double, `apply` writes. Chunks depend on the shape alone. Forward moves 12
// bytes a float, backward 20; what the cache still has of the first reading comes off that.
//
// Means and squares of distances are formed of a few elements in registers and merged as in Chan, Golub and
// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979): exact whatever
// the mean's size. Backward, with h = (x - mean) rstd and g = dy (where h weight + bias > 0, if a ReLU was
// fused):
//
//   dbias = sum g     dweight = sum g h     dx = weight rstd (g - dbias / m - h dweight / m),  m = n inner
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

// ---- forward ----------------------------------------------------------------------------------------------

template <class T, int V, bool strip>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_moments_kernel(Moments<T>* parts, const T* x, BatchShape s) {
  constexpr int held = kBatchHeld / V;
  SharedMemory shared;
  Moments<T>* const scratch = shared.take<Moments<T>>(kBatchThreads);
  const BatchPlace<strip> place(s);
  Moments<T> part;
  place.template each<held>([&](int i) {
    Vector<T, V> v[held];
    Moments<T> few;
#pragma unroll
    for (int u = 0; u < held; ++u)
      if (i + u * place.step < place.count) {
        v[u] = Vector<T, V>::load(x + place.offset(i + u * place.step) * V, s.aligned);
#pragma unroll
        for (int e = 0; e < V; ++e) few.mean += v[u].v[e];
        few.count += T(V);
      }
    few.mean /= few.count;
#pragma unroll
    for (int u = 0; u < held; ++u)
      if (i + u * place.step < place.count)
#pragma unroll
        for (int e = 0; e < V; ++e)
          few.squares = math_fma(v[u].v[e] - few.mean, v[u].v[e] - few.mean, few.squares);
    part.merge(few);
  });
  leave(place, s, part, parts, scratch);
}

template <class T>
__device__ void keep_moments(const BatchNormParams& p, int64_t k, double mean, double variance) {
  static_cast<T*>(p.mean)[k] = static_cast<T>(mean);
  static_cast<T*>(p.rstd)[k] = static_cast<T>(1 / math_sqrt(variance + p.eps));
  const double count = static_cast<double>(p.n * p.inner);
  T* const running_mean = static_cast<T*>(p.running_mean);
  T* const running_var = static_cast<T*>(p.running_var);
  if (!p.training) return;
  if (running_mean) running_mean[k] = static_cast<T>((1 - p.momentum) * running_mean[k] + p.momentum * mean);
  if (running_var)  // without bias
    running_var[k] =
        static_cast<T>((1 - p.momentum) * running_var[k] + p.momentum * (variance * (count / (count - 1))));
}
// A warp per channel.
template <class T>
__global__ void __launch_bounds__(kRowThreads, 1)
    batch_finish_kernel(BatchNormParams p, const Moments<T>* parts, int64_t chunks) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * (kRowThreads / kWarpSize) + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  Moments<double> all;
  for (int64_t i = k < p.c ? lane : chunks; i < chunks; i += kWarpSize) all.merge(parts[k * chunks + i]);
  all = merge_warp(all);
  if (lane == 0 && k < p.c) keep_moments<T>(p, k, all.mean, all.squares / all.count);
}
template <class T>
__global__ void __launch_bounds__(kRowThreads, 1) batch_running_kernel(BatchNormParams p) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (k < p.c)
    keep_moments<T>(p, k, static_cast<const T*>(p.running_mean)[k], static_cast<const T*>(p.running_var)[k]);
}

// What happens to an element of one channel.
template <class T>
struct ChannelMap {
  T mean = T(0), rstd = T(0), weight = T(1), bias = T(0);

  __device__ ChannelMap(const BatchNormParams& p, int64_t k) {
    if (k >= p.c) return;
    mean = static_cast<const T*>(p.mean)[k];
    rstd = static_cast<const T*>(p.rstd)[k];
    if (p.weight) weight = static_cast<const T*>(p.weight)[k];
    if (p.bias) bias = static_cast<const T*>(p.bias)[k];
  }
  __device__ T normalized(T x) const { return (x - mean) * rstd; }
  __device__ T affine(T h) const { return math_fma(h, weight, bias); }
};

template <class T, int V, bool strip, bool rectified>
__global__ void __launch_bounds__(kBatchThreads, 1) batch_normalize_kernel(BatchNormParams p, BatchShape s) {
  constexpr int held = kBatchHeld / V;
  const BatchPlace<strip> place(s);
  const ChannelMap<T> map(p, place.channel);
  place.template each<held>([&](int i) {
    Vector<T, V> v[held];
#pragma unroll
    for (int u = 0; u < held; ++u)
      if (i + u * place.step < place.count)
        v[u] =
            Vector<T, V>::load(static_cast<const T*>(p.x) + place.offset(i + u * place.step) * V, s.aligned);
#pragma unroll
    for (int u = 0; u < held; ++u) {
      if (i + u * place.step >= place.count) continue;
#pragma unroll
      for (int e = 0; e < V; ++e) {
        const T z = map.affine(map.normalized(v[u].v[e]));
        v[u].v[e] = rectified && T(0) > z ? T(0) : z;
      }
      v[u].store(static_cast<T*>(p.y) + place.offset(i + u * place.step) * V, s.aligned);
    }
  });
}

// ---- backward ---------------------------------------------------------------------------------------------

// h and g of the `held` vectors from i on; absent ones are 0.
template <class T, int V, bool masked, bool strip>
struct HeldGradients {
  static constexpr int held = kBatchHeld / V;
  Vector<T, V> h[held] = {}, g[held] = {};

  __device__ HeldGradients(const BatchNormParams& p, const BatchPlace<strip>& place, const ChannelMap<T>& map,
                           int i, bool aligned) {
#pragma unroll
    for (int u = 0; u < held; ++u)
      if (i + u * place.step < place.count) {
        const int64_t at = place.offset(i + u * place.step) * V;
        h[u] = Vector<T, V>::load(static_cast<const T*>(p.x) + at, aligned);
        g[u] = Vector<T, V>::load(static_cast<const T*>(p.dy) + at, aligned);
      }
#pragma unroll
    for (int u = 0; u < held; ++u) {
      if (i + u * place.step >= place.count) continue;
#pragma unroll
      for (int e = 0; e < V; ++e) {
        h[u].v[e] = map.normalized(h[u].v[e]);
        if (masked && map.affine(h[u].v[e]) <= T(0)) g[u].v[e] = T(0);
      }
    }
  }
};

template <class T, int V, bool strip, bool masked>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_gradient_sums_kernel(GradientSums<T>* parts, BatchNormParams p, BatchShape s) {
  SharedMemory shared;
  GradientSums<T>* const scratch = shared.take<GradientSums<T>>(kBatchThreads);
  const BatchPlace<strip> place(s);
  const ChannelMap<T> map(p, place.channel);
  using Held = HeldGradients<T, V, masked, strip>;
  GradientSums<T> part;
  place.template each<Held::held>([&](int i) {
    const Held v(p, place, map, i, s.aligned);
#pragma unroll
    for (int u = 0; u < Held::held; ++u)
#pragma unroll
      for (int e = 0; e < V; ++e) {
        part.g += v.g[u].v[e];
        part.gh = math_fma(v.g[u].v[e], v.h[u].v[e], part.gh);
      }
  });
  leave(place, s, part, parts, scratch);
}
// A warp per channel; means (c x 2) of g and g h.
template <class T>
__global__ void __launch_bounds__(kRowThreads, 1)
    batch_gradient_finish_kernel(BatchNormParams p, T* means, const GradientSums<T>* parts, int64_t chunks) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * (kRowThreads / kWarpSize) + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  GradientSums<double> all;
  for (int64_t i = k < p.c ? lane : chunks; i < chunks; i += kWarpSize) all.merge(parts[k * chunks + i]);
  all = merge_warp(all);
  if (lane != 0 || k >= p.c) return;
  const double count = static_cast<double>(p.n * p.inner);
  means[2 * k] = static_cast<T>(all.g / count);
  means[2 * k + 1] = static_cast<T>(all.gh / count);
  if (p.dbias) static_cast<T*>(p.dbias)[k] = static_cast<T>(all.g);
  if (p.dweight) static_cast<T*>(p.dweight)[k] = static_cast<T>(all.gh);
}

template <class T, int V, bool strip, bool masked>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_gradient_kernel(BatchNormParams p, const T* means, BatchShape s) {
  const BatchPlace<strip> place(s);
  const ChannelMap<T> map(p, place.channel);
  const bool inside = place.channel < s.c, centred = p.training && inside;
  const T mean_g = centred ? means[2 * place.channel] : T(0);
  const T mean_gh = centred ? means[2 * place.channel + 1] : T(0);
  const T scale = map.weight * map.rstd;
  using Held = HeldGradients<T, V, masked, strip>;
  place.template each<Held::held>([&](int i) {
    Held v(p, place, map, i, s.aligned);
#pragma unroll
    for (int u = 0; u < Held::held; ++u) {
      if (i + u * place.step >= place.count) continue;
#pragma unroll
      for (int e = 0; e < V; ++e) {
        const T g = v.g[u].v[e];
        v.g[u].v[e] = scale * (p.training ? g - math_fma(v.h[u].v[e], mean_gh, mean_g) : g);
      }
      v.g[u].store(static_cast<T*>(p.dx) + place.offset(i + u * place.step) * V, s.aligned);
    }
  });
}

}  // namespace fastnn::cuda
