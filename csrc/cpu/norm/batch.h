// Batch normalisation: every channel of (n, c, inner) by one mean and deviation, over n and inner.
//
// A channel's statistics and its result are one task: the channel may still be in the second-level cache when
// it is read again, from its end, which is there for certain. Few channels are cut into chunks instead, which
// other threads share; sums are formed over the same chunks in the same order either way.
//
// Backward, with h = (x - mean) rstd, z = h weight + bias, m = n inner elements, and g = dy (where z > 0, if
// a ReLU was fused: its mask costs less to compute again than to read):
//
//   dbias = sum g     dweight = sum g h     dx = weight rstd (g - dbias / m - h dweight / m)
//
// With running statistics, which do not depend on x, dx = weight rstd g.
#pragma once
#include "cpu/norm/moments.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kFewChannels = 32;

// What happens to an element of one channel.
template <class T>
struct ChannelMap {
  Vec<T> mean, rstd, weight, bias;

  ChannelMap(const BatchNormParams& p, int64_t k)
      : mean(static_cast<const T*>(p.mean)[k]),
        rstd(static_cast<const T*>(p.rstd)[k]),
        weight(p.weight ? static_cast<const T*>(p.weight)[k] : T(1)),
        bias(p.bias ? static_cast<const T*>(p.bias)[k] : T(0)) {}
};
template <class T>
FASTNN_INLINE Vec<T> affine(Vec<T> h, Vec<T> weight, Vec<T> bias) {
  return fma(h, weight, bias);
}
template <class T>
FASTNN_INLINE Vec<T> relu(Vec<T> z) {  // NaN stays NaN
  return max(Vec<T>(T(0)), z);
}
// What of dy arrives before the activation.
template <class T, bool masked>
FASTNN_INLINE Vec<T> unmasked(Vec<T> dy, Vec<T> h, Vec<T> weight, Vec<T> bias) {
  return masked ? select(affine(h, weight, bias) <= Vec<T>(T(0)), Vec<T>(T(0)), dy) : dy;
}

// f(offset, lanes) for the vectors of a chunk.
template <class T, class F>
FASTNN_INLINE void for_chunk(const Chunk& chunk, F&& f) {
  for (int64_t run = 0; run < chunk.runs; ++run) {
    const int64_t base = chunk.first + run * chunk.stride;
    for_vectors<T>(chunk.length, [&](int64_t i, int lanes, int) { f(base + i, lanes); });
  }
}

// Keeps what was found of a channel, and moves the running statistics towards it.
template <class T>
inline void keep_moments(const BatchNormParams& p, int64_t k, double mean, double variance) {
  static_cast<T*>(p.mean)[k] = static_cast<T>(mean);
  static_cast<T*>(p.rstd)[k] = static_cast<T>(1 / __builtin_sqrt(variance + p.eps));
  auto move = [&](void* running, double value) {
    if (!running || !p.training) return;
    T& r = static_cast<T*>(running)[k];
    r = static_cast<T>((1 - p.momentum) * static_cast<double>(r) + p.momentum * value);
  };
  const double count = static_cast<double>(p.n * p.inner);
  move(p.running_mean, mean);
  move(p.running_var, variance * (count / (count - 1)));  // without bias
}
template <class T>
inline void keep_running(const BatchNormParams& p) {
  for (int64_t k = 0; k < p.c; ++k)
    keep_moments<T>(p, k, static_cast<double>(static_cast<const T*>(p.running_mean)[k]),
                    static_cast<double>(static_cast<const T*>(p.running_var)[k]));
}

// ---- a channel's two stages: `gather` gives the Part of a chunk; `finish` gets the sum of a channel's, and
// so does `apply`, for each chunk.

template <class Part, class Gather, class Finish, class Apply>
Status in_two_stages(Context& ctx, const Channels& s, double ns, Gather&& gather, Finish&& finish,
                     Apply&& apply) {
  if (s.c >= kFewChannels || s.chunks == 1)
    return parallel_for(ctx, s.c, ns, [&](int64_t k, int) {
      Part all;
      for (int64_t i = 0; i < s.chunks; ++i) all.merge(gather(s.chunk(k, i, i + 1), k));
      finish(k, all);
      for (int64_t i = s.chunks - 1; i >= 0; --i) apply(s.chunk(k, i, i - 1), k, all);
    });
  Part* const parts = workspace<Part>(ctx, static_cast<size_t>(s.c * s.chunks));
  if (!parts) return Status::need_workspace;
  const Status status = parallel_for(ctx, s.c * s.chunks, 0.5 * ns, [&](int64_t task, int) {
    parts[task] = gather(s.chunk(task / s.chunks, task % s.chunks, task % s.chunks + 1), task / s.chunks);
  });
  if (status != Status::ok) return status;
  for (int64_t k = 0; k < s.c; ++k) {
    Part& all = parts[k * s.chunks];
    for (int64_t i = 1; i < s.chunks; ++i) all.merge(parts[k * s.chunks + i]);
    finish(k, all);
  }
  return parallel_for(ctx, s.c * s.chunks, 0.5 * ns, [&](int64_t task, int) {
    const int64_t k = task / s.chunks;
    apply(s.chunk(k, task % s.chunks, task % s.chunks + 1), k, parts[k * s.chunks]);
  });
}

template <class T>
double nanoseconds(const BatchNormParams& p, double passes) {
  return static_cast<double>(p.c) *
         (static_cast<double>(p.n * p.inner) * passes * kNsPerNormalized * sizeof(T) / 4 + kNsPerStatistics);
}

// ---- forward ----------------------------------------------------------------------------------------------

template <class T, bool rectified>
void normalize_chunk(const BatchNormParams& p, const Chunk& chunk, int64_t k) {
  const ChannelMap<T> map(p, k);
  const T* const x = static_cast<const T*>(p.x);
  T* const y = static_cast<T*>(p.y);
  for_chunk<T>(chunk, [&](int64_t at, int lanes) {
    ask_for(x + at + chunk.ahead);
    const Vec<T> z = affine(normalized(load_some(x + at, lanes), map.mean, map.rstd), map.weight, map.bias);
    store_some(rectified ? relu(z) : z, y + at, lanes);
  });
}

template <class T>
Status batch_forward(Context& ctx, const BatchNormParams& p) {
  const Channels s(p.n, p.c, p.inner);
  const bool rectified = p.activation == Activation::relu;
  auto apply = [&](const Chunk& chunk, int64_t k) {
    rectified ? normalize_chunk<T, true>(p, chunk, k) : normalize_chunk<T, false>(p, chunk, k);
  };
  if (!p.training) {
    keep_running<T>(p);
    return parallel_for(ctx, s.c * s.chunks, nanoseconds<T>(p, 1), [&](int64_t task, int) {
      apply(s.chunk(task / s.chunks, task % s.chunks, task % s.chunks + 1), task / s.chunks);
    });
  }
  return in_two_stages<Moments>(
      ctx, s, nanoseconds<T>(p, 2),
      [&](const Chunk& chunk, int64_t) { return moments_of(static_cast<const T*>(p.x), chunk); },
      [&](int64_t k, const Moments& m) { keep_moments<T>(p, k, m.mean, m.variance()); },
      [&](const Chunk& chunk, int64_t k, const Moments&) { apply(chunk, k); });
}

// ---- backward ---------------------------------------------------------------------------------------------

struct GradientSums {
  double g = 0, gh = 0;
  FASTNN_INLINE void merge(const GradientSums& other) { g += other.g, gh += other.gh; }
};
template <class T>
inline void keep_gradients(const BatchNormParams& p, int64_t k, const GradientSums& sums) {
  if (p.dbias) static_cast<T*>(p.dbias)[k] = static_cast<T>(sums.g);
  if (p.dweight) static_cast<T*>(p.dweight)[k] = static_cast<T>(sums.gh);
}

template <class T, bool masked>
GradientSums gradient_sums(const BatchNormParams& p, const Chunk& chunk, int64_t k) {
  const ChannelMap<T> map(p, k);
  const T* const x = static_cast<const T*>(p.x);
  const T* const dy = static_cast<const T*>(p.dy);
  const Sums<T> s = sum_chunk<T>(chunk, [&](int64_t at, int lanes) {
    ask_for(x + at + chunk.ahead);
    ask_for(dy + at + chunk.ahead);
    const Vec<T> h = normalized(load_some(x + at, lanes), map.mean, map.rstd);
    const Vec<T> g = unmasked<T, masked>(load_some(dy + at, lanes), h, map.weight, map.bias);
    return Sums<T>{g, g * h};  // lanes past the end: g is 0
  });
  return {reduce_add(s.a), reduce_add(s.b)};
}

// centred: the statistics were the batch's, so they have gradients too.
template <class T, bool masked, bool centred>
void gradient_chunk(const BatchNormParams& p, const Chunk& chunk, int64_t k, const GradientSums& sums) {
  const ChannelMap<T> map(p, k);
  const double count = static_cast<double>(p.n * p.inner);
  const Vec<T> scale = map.weight * map.rstd;
  const Vec<T> mean_g(static_cast<T>(sums.g / count)), mean_gh(static_cast<T>(sums.gh / count));
  const T* const x = static_cast<const T*>(p.x);
  const T* const dy = static_cast<const T*>(p.dy);
  T* const dx = static_cast<T*>(p.dx);
  for_chunk<T>(chunk, [&](int64_t at, int lanes) {
    ask_for(x + at + chunk.ahead);
    ask_for(dy + at + chunk.ahead);
    const Vec<T> h = normalized(load_some(x + at, lanes), map.mean, map.rstd);
    const Vec<T> g = unmasked<T, masked>(load_some(dy + at, lanes), h, map.weight, map.bias);
    store_some(scale * (centred ? g - fma(h, mean_gh, mean_g) : g), dx + at, lanes);
  });
}

template <class T>
Status batch_backward(Context& ctx, const BatchNormParams& p) {
  const Channels s(p.n, p.c, p.inner);
  const bool gathers = p.training || p.dweight || p.dbias, masked = p.activation == Activation::relu;
  const auto sums_of = masked ? gradient_sums<T, true> : gradient_sums<T, false>;
  const auto apply = masked ? (p.training ? gradient_chunk<T, true, true> : gradient_chunk<T, true, false>)
                            : (p.training ? gradient_chunk<T, false, true> : gradient_chunk<T, false, false>);
  return in_two_stages<GradientSums>(
      ctx, s, nanoseconds<T>(p, 4),
      [&](const Chunk& chunk, int64_t k) { return gathers ? sums_of(p, chunk, k) : GradientSums{}; },
      [&](int64_t k, const GradientSums& sums) { keep_gradients<T>(p, k, sums); },
      [&](const Chunk& chunk, int64_t k, const GradientSums& sums) {
        if (p.dx) apply(p, chunk, k, sums);
      });
}

}  // namespace fastnn::FASTNN_ISA
