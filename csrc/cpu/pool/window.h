// The geometry of pooling windows, and loads of the pixels under one tap of neighbouring windows.
#pragma once
#include "backend/context.h"
#include "backend/integers.h"
#include "backend/pool.h"
#include "cpu/simd/cache.h"
#include "cpu/simd/interleave.h"

namespace fastnn::FASTNN_ISA {

inline bool halves(const PoolParams& p) {
  return p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.pad_h == 0 &&
         p.pad_w == 0 && p.dilation_h == 1 && p.dilation_w == 1 && 2 * p.p <= p.h && 2 * p.q <= p.w;
}

// The taps [begin, end) of output `at` that fall inside `size` pixels, and the pixel of tap 0.
struct Taps {
  int64_t begin, end, origin;
  Taps(int64_t at, int64_t stride, int64_t pad, int64_t dilation, int64_t kernel, int64_t size) {
    origin = at * stride - pad;
    begin = origin < 0 ? ceil_div(-origin, dilation) : 0;
    end = origin < size ? min_of(kernel, (size - 1 - origin) / dilation + 1) : 0;
    begin = min_of(begin, end);
  }
};
inline Taps rows_of(const PoolParams& p, int64_t at) {
  return Taps(at, p.stride_h, p.pad_h, p.dilation_h, p.kernel_h, p.h);
}
inline Taps columns_of(const PoolParams& p, int64_t at) {
  return Taps(at, p.stride_w, p.pad_w, p.dilation_w, p.kernel_w, p.w);
}

// Outputs [begin, end) of a row have all their taps inside it.
struct Interior {
  int64_t begin, end;
  explicit Interior(const PoolParams& p) {
    const int64_t reach = (p.kernel_w - 1) * p.dilation_w;
    begin = min_of(p.q, ceil_div(p.pad_w, p.stride_w));
    end = p.w - 1 - reach + p.pad_w < 0 ? 0 : min_of(p.q, (p.w - 1 - reach + p.pad_w) / p.stride_w + 1);
    end = max_of(begin, end);
  }
};

// n pixels, `stride` apart; reads no further than the last of them.
template <class T>
FASTNN_INLINE Vec<T> load_apart(const T* x, int64_t stride, int n) {
  using V = Vec<T>;
  if (stride == 1) return n == V::N ? V::load(x) : V::load_n(x, n);
  if (stride == 2) {
    const int last = 2 * n - 1;  // of these many pixels the odd ones are passed over
    const int low = last < V::N ? last : V::N;
    return deinterleave(V::load_n(x, low), V::load_n(x + low, last - low)).a;
  }
  V v(T(0));
  for (int i = 0; i < n; ++i) v.v[i] = x[i * stride];
  return v;
}
template <class T>
FASTNN_INLINE void store_some(Vec<T> v, T* p, int n) {
  n == Vec<T>::N ? v.store(p) : v.store_n(p, n);
}

// ---- 2 x 2 windows, stride 2
// Calls f(q, n) for the vectors of a row of outputs. The last one of several is whole as well: it computes
// some outputs again.
template <class T, class F>
FASTNN_INLINE void each_halved_vector(const PoolParams& p, F&& f) {
  constexpr int N = Vec<T>::N;
  if (p.q < N) return f(0, static_cast<int>(p.q));
  for (int64_t q = 0; q < p.q; q += N) f(min_of(q, p.q - N), N);
}
// 2 n pixels, as even and odd ones.
template <class T>
FASTNN_INLINE Both<T> load_pairs(const T* x, int n) {
  using V = Vec<T>;
  prefetch_ahead(x), prefetch_ahead(x + V::N);
  if (n == V::N) return deinterleave(V::load(x), V::load(x + V::N));
  const int low = static_cast<int>(min_of(V::N, 2 * n));
  return deinterleave(V::load_n(x, low), V::load_n(x + low, 2 * n - low));
}

template <class T>
FASTNN_INLINE void store_pairs(Both<T> pairs, T* to, int n) {
  using V = Vec<T>;
  prefetch_ahead_to_write(to), prefetch_ahead_to_write(to + V::N);
  if (n == V::N) return pairs.a.store(to), pairs.b.store(to + V::N);
  const int low = static_cast<int>(min_of(V::N, 2 * n));
  store_some(pairs.a, to, low), store_some(pairs.b, to + low, 2 * n - low);
}

// A plane with `pad` on both sides of its rows. Vectors of outputs may be loaded whole: what they read beyond
// the last output is there, and is not used. In front of the planes, one for each worker, stands a table with
// a number per output of a row.
template <class T>
struct Padded {
  static constexpr int64_t kMostElements = 1 << 18, kMostReach = 64;
  int64_t outputs, pitch;
  bool usable;

  explicit Padded(const PoolParams& p) {
    const int64_t N = Vec<T>::N,
                  reach = p.kernel_w <= kMostReach ? (p.kernel_w - 1) * p.dilation_w : kMostReach + 1;
    outputs = round_up(p.q, N);
    pitch =
        max_of(p.pad_w + p.w, (p.stride_w <= 2 ? outputs : p.q) * min_of(p.stride_w, p.w) + reach) + 2 * N;
    usable =
        reach <= kMostReach && p.pad_w <= kMostReach && pitch < kMostElements && p.h * pitch < kMostElements;
  }
  size_t elements(const Context& ctx, const PoolParams& p) const {
    return static_cast<size_t>(outputs + ctx.threads * p.h * pitch);
  }
  // Copies a plane into `worker`'s place and returns where output 0's tap 0 of row 0 is.
  const T* fill(T* scratch, int worker, const PoolParams& p, const T* x, T pad) const {
    T* plane = scratch + outputs + worker * p.h * pitch;
    for (int64_t row = 0; row < p.h; ++row, x += p.w) {
      T* to = plane + row * pitch;
      for (int64_t i = 0; i < p.pad_w; ++i) to[i] = pad;
      for (int64_t i = 0; i < p.w; i += 64 / static_cast<int64_t>(sizeof(T))) prefetch_ahead(x + i);
      memcpy(to + p.pad_w, x, static_cast<size_t>(p.w) * sizeof(T));
      for (int64_t i = p.pad_w + p.w; i < pitch; ++i) to[i] = pad;
    }
    return plane;
  }
};
// As load_apart, from padded rows.
template <class T>
FASTNN_INLINE Vec<T> load_padded(const T* x, int64_t stride, int n) {
  if (stride == 1) return Vec<T>::load(x);
  if (stride == 2) return deinterleave(Vec<T>::load(x), Vec<T>::load(x + Vec<T>::N)).a;
  return load_apart(x, stride, n);
}

}  // namespace fastnn::FASTNN_ISA
