// Batch normalisation: every channel of (n, c, inner) by one mean and deviation, over n and inner.
//
// Two launches each way: one leaves a Part of every chunk of a channel in the workspace, and the last block
// of a channel brings them together in double; one applies what was found. Chunks depend on the shape alone.
// Forward moves 12 bytes a float, backward 20; what the cache still has of the first reading comes off that.
// With running statistics there is nothing to gather, and forward is one launch.
//
// Means and squares of distances are formed of a few elements in registers and merged as in Chan, Golub and
// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979): exact whatever
// the mean's size. Backward, with h = (x - mean) rstd and g = dy (where h weight + bias > 0, if a ReLU was
// fused):
//
//   dbias = sum g     dweight = sum g h     dx = weight rstd (g - dbias / m - h dweight / m),  m = n inner
#pragma once
#include "backend/norm.h"
#include "cuda/norm/batch_parts.cuh"

namespace fastnn::cuda {

// ---- forward ----------------------------------------------------------------------------------------------

template <class T>
__device__ void keep_moments(const BatchNormParams& p, int64_t k, double mean, double variance) {
  static_cast<T*>(p.mean)[k] = static_cast<T>(mean);
  static_cast<T*>(p.rstd)[k] = static_cast<T>(1 / math_sqrt(variance + p.eps));
  const double count = static_cast<double>(p.n * p.inner);
  T* const running_mean = static_cast<T*>(p.running_mean);
  T* const running_var = static_cast<T*>(p.running_var);
  if (running_mean) running_mean[k] = static_cast<T>((1 - p.momentum) * running_mean[k] + p.momentum * mean);
  if (running_var)  // without bias
    running_var[k] =
        static_cast<T>((1 - p.momentum) * running_var[k] + p.momentum * (variance * (count / (count - 1))));
}

template <class T, int V, bool strip>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_moments_kernel(BatchNormParams p, BatchShape s, Moments<T>* parts, unsigned* tickets) {
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
        v[u] =
            Vector<T, V>::load(static_cast<const T*>(p.x) + place.offset(i + u * place.step) * V, s.aligned);
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
  finish_channels<strip, Moments<double>>(place, s, parts, tickets,
                                          [&](int64_t k, const Moments<double>& all) {
                                            keep_moments<T>(p, k, all.mean, all.squares / all.count);
                                          });
}

// What happens to an element of one channel.
template <class T>
struct ChannelMap {
  T mean = T(0), rstd = T(0), weight = T(1), bias = T(0);
  bool rectified;  // a ReLU behind it

  __device__ ChannelMap(const BatchNormParams& p, int64_t k, bool gathered = true)
      : rectified(p.activation == Activation::relu) {
    if (k >= p.c) return;
    if (gathered) mean = static_cast<const T*>(p.mean)[k], rstd = static_cast<const T*>(p.rstd)[k];
    if (p.weight) weight = static_cast<const T*>(p.weight)[k];
    if (p.bias) bias = static_cast<const T*>(p.bias)[k];
  }
  // Mean and deviation by running statistics: one thread works them out for a channel's others.
  __device__ void take_running(const BatchNormParams& p, int64_t k, bool first, bool keep, T* scratch) {
    if (first && k < p.c) {
      scratch[0] = static_cast<const T*>(p.running_mean)[k];
      scratch[1] =
          static_cast<T>(1 / math_sqrt(static_cast<double>(static_cast<const T*>(p.running_var)[k]) + p.eps));
      if (keep) static_cast<T*>(p.mean)[k] = scratch[0], static_cast<T*>(p.rstd)[k] = scratch[1];
    }
    __syncthreads();
    if (k < p.c) mean = scratch[0], rstd = scratch[1];
  }
  __device__ T normalized(T x) const { return (x - mean) * rstd; }
  __device__ T affine(T h) const { return math_fma(h, weight, bias); }
};

template <class T, int V, bool strip>
__global__ void __launch_bounds__(kBatchThreads, 1) batch_normalize_kernel(BatchNormParams p, BatchShape s) {
  constexpr int held = kBatchHeld / V;
  const BatchPlace<strip> place(s);
  ChannelMap<T> map(p, place.channel, p.training);
  if (!p.training) {
    SharedMemory shared;
    const int column = strip ? static_cast<int>(threadIdx.x) : 0;
    map.take_running(p, place.channel, strip ? threadIdx.y == 0 : threadIdx.x == 0, place.chunk == 0,
                     shared.take<T>(2 * place.kTile) + 2 * column);
  }
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
        v[u].v[e] = map.rectified && T(0) > z ? T(0) : z;
      }
      v[u].store(static_cast<T*>(p.y) + place.offset(i + u * place.step) * V, s.aligned);
    }
  });
}

// ---- backward ---------------------------------------------------------------------------------------------

// h and g of the `held` vectors from i on; absent ones are 0.
template <class T, int V, bool strip>
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
        if (map.rectified && map.affine(h[u].v[e]) <= T(0)) g[u].v[e] = T(0);
      }
    }
  }
};

// means (c x 2): of g and g h.
template <class T, int V, bool strip>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_gradient_sums_kernel(BatchNormParams p, BatchShape s, T* means, GradientSums<T>* parts,
                               unsigned* tickets) {
  SharedMemory shared;
  GradientSums<T>* const scratch = shared.take<GradientSums<T>>(kBatchThreads);
  const BatchPlace<strip> place(s);
  const ChannelMap<T> map(p, place.channel);
  using Held = HeldGradients<T, V, strip>;
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
  finish_channels<strip, GradientSums<double>>(place, s, parts, tickets,
                                               [&](int64_t k, const GradientSums<double>& all) {
                                                 const double count = static_cast<double>(p.n * p.inner);
                                                 means[2 * k] = static_cast<T>(all.g / count);
                                                 means[2 * k + 1] = static_cast<T>(all.gh / count);
                                                 if (p.dbias)
                                                   static_cast<T*>(p.dbias)[k] = static_cast<T>(all.g);
                                                 if (p.dweight)
                                                   static_cast<T*>(p.dweight)[k] = static_cast<T>(all.gh);
                                               });
}

template <class T, int V, bool strip>
__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_gradient_kernel(BatchNormParams p, const T* means, BatchShape s) {
  const BatchPlace<strip> place(s);
  const ChannelMap<T> map(p, place.channel);
  const bool inside = place.channel < s.c, centred = p.training && inside;
  const T mean_g = centred ? means[2 * place.channel] : T(0);
  const T mean_gh = centred ? means[2 * place.channel + 1] : T(0);
  const T scale = map.weight * map.rstd;
  using Held = HeldGradients<T, V, strip>;
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

// ---- launching --------------------------------------------------------------------------------------------
struct BatchLaunch {
  BatchShape shape;
  dim3 grid, block;

  BatchLaunch(const BatchNormParams& p, int V, bool aligned) : shape(BatchShape::of(p, V, aligned)) {
    const bool strip = p.inner == 1;
    grid = strip ? dim3(static_cast<unsigned>(ceil_div<int64_t>(p.c, kStripColumns)),
                        static_cast<unsigned>(shape.chunks))
                 : dim3(static_cast<unsigned>(p.c * shape.chunks));
    block = strip ? dim3(kStripColumns, kStripRows) : dim3(kBatchThreads);
  }
};

// Calls run.operator()<V, strip>() for the kernels that fit.
template <class T, class F>
Status with_batch(const BatchNormParams& p, const F& run) {
  if (p.inner == 1) return run.template operator()<1, true>();
  if (p.inner % kVector<T> == 0) return run.template operator()<kVector<T>, false>();
  return run.template operator()<1, false>();
}

template <class T>
Status batch_norm_forward(Context& ctx, const BatchNormParams& p) {
  const bool aligned = vector_aligned(p.x) && vector_aligned(p.y);
  return with_batch<T>(p, [&]<int V, bool strip>() {
    const BatchLaunch l(p, V, aligned);
    if (p.training) {
      auto* parts = workspace<Moments<T>>(ctx, static_cast<size_t>(p.c * l.shape.chunks));
      if (!parts) return Status::need_workspace;
      const Status status = launch<batch_moments_kernel<T, V, strip>>(
          ctx, l.grid, l.block, SharedMemory::bytes<Moments<T>>(kBatchThreads), p, l.shape, parts,
          ctx.tickets);
      if (status != Status::ok) return status;
    }
    return launch<batch_normalize_kernel<T, V, strip>>(
        ctx, l.grid, l.block, SharedMemory::bytes<T>(2 * BatchPlace<strip>::kTile), p, l.shape);
  });
}

template <class T>
Status batch_norm_gradients(Context& ctx, const BatchNormParams& p) {
  const bool aligned = vector_aligned(p.x) && vector_aligned(p.dy) && vector_aligned(p.dx);
  return with_batch<T>(p, [&]<int V, bool strip>() {
    const BatchLaunch l(p, V, aligned);
    T* const means = workspace<T>(ctx, static_cast<size_t>(2 * p.c + 2 * p.c * l.shape.chunks));
    if (!means) return Status::need_workspace;
    Status status = Status::ok;
    if (p.training || p.dweight || p.dbias) {
      auto* const parts = reinterpret_cast<GradientSums<T>*>(means + 2 * p.c);
      status = launch<batch_gradient_sums_kernel<T, V, strip>>(
          ctx, l.grid, l.block, SharedMemory::bytes<GradientSums<T>>(kBatchThreads), p, l.shape, means, parts,
          ctx.tickets);
    }
    if (status != Status::ok || !p.dx) return status;
    const T* const found = means;
    return launch<batch_gradient_kernel<T, V, strip>>(ctx, l.grid, l.block, 0, p, found, l.shape);
  });
}

}  // namespace fastnn::cuda
