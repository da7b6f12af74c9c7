// Maximum pooling. The floor is the image read or written once, the outputs and their window positions, a
// byte each where windows have up to 256 taps.
#pragma once
#include "backend/pool.h"
#include "cuda/pool/window.cuh"

namespace fastnn::cuda {

struct Positions {
  void* data;
  int bytes;

  __device__ int get(int64_t i) const {
    return bytes == 1 ? static_cast<const uint8_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
  __device__ void set(int64_t i, int tap) const {
    if (!data) return;
    if (bytes == 1)
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(tap);
    else
      static_cast<int32_t*>(data)[i] = tap;
  }
};

// The largest pixel so far and its tap: the first of equals; a NaN wins over numbers and earlier NaNs.
template <class T>
struct Largest {
  T value = static_cast<T>(-__builtin_inff());
  int tap;
  __device__ explicit Largest(int first) : tap(first) {}
  __device__ void see(T x, int t) {
    const bool larger = x > value || x != x;
    value = larger ? x : value;
    tap = larger ? t : tap;
  }
};

template <class T, int K>
__global__ void __launch_bounds__(kPoolThreads, 1)
    max_pool_forward(T* y, const T* x, Positions positions, Pooling p, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Window window(p, at.row, at.column);
  Largest<T> best(window.row_begin * p.w.kernel + window.column_begin);
  window.each<K>(p, x + at.plane * p.pixels, [&](T v, int tap) { best.see(v, tap); });
  y[at.number] = best.value;
  positions.set(at.number, best.tap);
}

// A thread has kPixels neighbours of a row, and visits the windows that reach over one of them, in order.
template <class T>
__global__ void __launch_bounds__(kPoolThreads, 1)
    max_pool_backward(T* dx, const T* dy, Positions positions, Pooling p, Points points, bool whole) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Pixels pixels(p, at);
  Vector<T, kPixels> sum{};
  for (int row = pixels.row_first; row <= pixels.row_last; ++row) {
    const int64_t first = at.plane * p.windows + static_cast<int64_t>(row) * p.w.outputs;
    const int top = p.h.origin(row);
#pragma unroll 4
    for (int q = pixels.column_first; q <= pixels.column_last; ++q) {
      const int tap = positions.get(first + q);
      const T g = dy[first + q];
      const int r = static_cast<int>(p.by_kernel_w.quotient(static_cast<unsigned>(tap)));
      const int s = tap - r * p.w.kernel;
      const bool here = top + r * p.h.dilation == at.row;
      const int pixel = p.w.origin(q) + s * p.w.dilation - pixels.column;
#pragma unroll
      for (int j = 0; j < kPixels; ++j)
        if (here && pixel == j) sum.v[j] += g;
    }
  }
  pixels.store(dx, sum, whole);
}

template <class T>
__global__ void __launch_bounds__(kPoolThreads, 1)
    max_pool_gather(T* y, const T* x, Positions positions, Pooling p, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const int tap = positions.get(at.number);
  const int r = static_cast<int>(p.by_kernel_w.quotient(static_cast<unsigned>(tap)));
  const int s = tap - r * p.w.kernel;
  const int64_t row = p.h.origin(at.row) + r * p.h.dilation;
  y[at.number] = x[at.plane * p.pixels + row * p.w.size + p.w.origin(at.column) + s * p.w.dilation];
}

// ---- halves: n outputs of a row to a thread ---------------------------------------------------------------
template <class T, int n>
__global__ void __launch_bounds__(kPoolThreads, 1)
    max_pool_halves(T* y, const T* x, uint8_t* positions, int64_t width, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const T* from = x + 2 * (at.number - at.column) * 2 * n + at.column * 2 * n;
  const Vector<T, 2 * n> top = Vector<T, 2 * n>::load(from), bottom = Vector<T, 2 * n>::load(from + width);
  Vector<T, n> value;
  Vector<uint8_t, n> tap;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    Largest<T> best(0);
    best.see(top.v[2 * j], 0);
    best.see(top.v[2 * j + 1], 1);
    best.see(bottom.v[2 * j], 2);
    best.see(bottom.v[2 * j + 1], 3);
    value.v[j] = best.value, tap.v[j] = static_cast<uint8_t>(best.tap);
  }
  value.store(y + at.number * n);
  if (positions) tap.store(positions + at.number * n);
}

template <class T, int n>
__global__ void __launch_bounds__(kPoolThreads, 1)
    max_pool_halves_backward(T* dx, const T* dy, const uint8_t* positions, int64_t width, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Vector<T, n> g = Vector<T, n>::load(dy + at.number * n);
  const Vector<uint8_t, n> tap = Vector<uint8_t, n>::load(positions + at.number * n);
  Vector<T, 2 * n> top, bottom;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    top.v[2 * j] = tap.v[j] == 0 ? g.v[j] : T(0);
    top.v[2 * j + 1] = tap.v[j] == 1 ? g.v[j] : T(0);
    bottom.v[2 * j] = tap.v[j] == 2 ? g.v[j] : T(0);
    bottom.v[2 * j + 1] = tap.v[j] == 3 ? g.v[j] : T(0);
  }
  T* to = dx + 2 * (at.number - at.column) * 2 * n + at.column * 2 * n;
  top.store(to);
  bottom.store(to + width);
}

// ---- launching --------------------------------------------------------------------------------------------
template <class T>
Status launch_max_pool(Context& ctx, const PoolParams& p) {
  const Points points(p.planes, p.p, p.q);
  const Positions positions{p.index, p.index_bytes};
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  auto general = [&]<int K>() {
    return launch<max_pool_forward<T, K>>(ctx, points.grid(), kPoolThreads, 0, y, x, positions, Pooling(p),
                                          points);
  };
  if (halves(p))
    return with_span<T>(p, x, y, [&]<int n>() {
      if constexpr (n == 0) {
        return general.template operator()<2>();
      } else {
        const Points spans(p.planes, p.p, p.q / n);
        return launch<max_pool_halves<T, n>>(ctx, spans.grid(), kPoolThreads, 0, y, x,
                                             static_cast<uint8_t*>(p.index), p.w, spans);
      }
    });
  if (p.kernel_h == 2 && p.kernel_w == 2) return general.template operator()<2>();
  if (p.kernel_h == 3 && p.kernel_w == 3) return general.template operator()<3>();
  return general.template operator()<0>();
}

template <class T>
Status launch_max_pool_backward(Context& ctx, const PoolParams& p) {
  T* dx = static_cast<T*>(p.y);
  const T* dy = static_cast<const T*>(p.x);
  auto general = [&] {
    const Points points = pixel_points(p);
    return launch<max_pool_backward<T>>(ctx, points.grid(), kPoolThreads, 0, dx, dy,
                                        Positions{p.index, p.index_bytes}, Pooling(p), points,
                                        whole_pixels(p));
  };
  if (!halves(p)) return general();
  return with_span<T>(p, dx, dy, [&]<int n>() {
    if constexpr (n == 0) {
      return general();
    } else {
      const Points spans(p.planes, p.p, p.q / n);
      return launch<max_pool_halves_backward<T, n>>(ctx, spans.grid(), kPoolThreads, 0, dx, dy,
                                                    static_cast<const uint8_t*>(p.index), p.w, spans);
    }
  });
}

template <class T>
Status launch_max_pool_gather(Context& ctx, const PoolParams& p) {
  const Points points(p.planes, p.p, p.q);
  return launch<max_pool_gather<T>>(ctx, points.grid(), kPoolThreads, 0, static_cast<T*>(p.y),
                                    static_cast<const T*>(p.x), Positions{p.index, p.index_bytes}, Pooling(p),
                                    points);
}

}  // namespace fastnn::cuda
