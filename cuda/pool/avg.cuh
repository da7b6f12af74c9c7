// Average pooling: a window's sum, tap after tap, over the number of its pixels, or of all its taps that are
// not beyond the padding. The floor is one image and one plane of outputs, the one read, the other written.
#pragma once
#include "backend/pool.h"
#include "cuda/common/row_team.cuh"
#include "cuda/pool/window.cuh"

namespace fastnn::cuda {

// Taps of output `at` along one side that count.
__device__ inline int counted(const Side& side, int origin, int begin, int end, bool with_padding) {
  if (!with_padding) return end - begin;
  const int within = side.size + side.pad - origin;
  return within < side.kernel ? within : side.kernel;
}
template <class T>
__device__ T divisor(const Pooling& p, const Window& window, bool with_padding) {
  const int rows = counted(p.h, window.top, window.row_begin, window.row_end, with_padding);
  const int columns = counted(p.w, window.left, window.column_begin, window.column_end, with_padding);
  return static_cast<T>(rows > 1 ? rows : 1) * static_cast<T>(columns > 1 ? columns : 1);
}

template <class T, int K>
__global__ void __launch_bounds__(kPoolThreads, 1)
    avg_pool_forward(T* y, const T* x, bool with_padding, Pooling p, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Window window(p, at.row, at.column);
  T sum = T(0);
  window.each<K>(p, x + at.plane * p.pixels, [&](T v, int) { sum += v; });
  y[at.number] = sum / divisor<T>(p, window, with_padding);
}

// One window to a plane: a team's sum.
template <class T, int N, int V>
__global__ void __launch_bounds__(1024, 1)
    avg_pool_whole(T* y, const T* x, int64_t planes, Row<T, V> shape, int threads) {
  const TeamRow<T> at(threads);
  const T* plane = x + at.row * shape.size;
  const T count = static_cast<T>(shape.size);
  if (at.row >= planes) shape.size = 0;
  T sum = T(0);
  for (int64_t i = 0; i < shape.size; i += N * threads) {
    T v[N];
    const Row<T, V> rest{shape.size - i, shape.aligned};
    rest.load_all(at.team, plane + i, v, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) sum += v[j];
  }
  sum = at.team.reduce(sum, Plus(), T(0));
  if (at.row < planes && at.team.rank == 0) y[at.row] = sum / count;
}

// A row of windows is visited from its end, for that is the order of their taps.
template <class T>
__global__ void __launch_bounds__(kPoolThreads, 1)
    avg_pool_backward(T* dx, const T* dy, bool with_padding, Pooling p, Points points, bool whole) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Pixels pixels(p, at);
  Vector<T, kPixels> sum{};
  for (int row = pixels.row_first; row <= pixels.row_last; ++row) {
    const T* from = dy + at.plane * p.windows + static_cast<int64_t>(row) * p.w.outputs;
#pragma unroll 2
    for (int q = pixels.column_last; q >= pixels.column_first; --q) {
      const Window window(p, row, q);
      const T share = from[q] / divisor<T>(p, window, with_padding);
      const int first = window.left - pixels.column;
#pragma unroll
      for (int j = 0; j < kPixels; ++j)
        if (j >= first && j < first + p.w.kernel) sum.v[j] += share;
    }
  }
  pixels.store(dx, sum, whole);
}

// ---- halves: n outputs of a row to a thread ---------------------------------------------------------------
template <class T, int n>
__global__ void __launch_bounds__(kPoolThreads, 1)
    avg_pool_halves(T* y, const T* x, int64_t width, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const T* from = x + 2 * (at.number - at.column) * 2 * n + at.column * 2 * n;
  const Vector<T, 2 * n> top = Vector<T, 2 * n>::load(from), bottom = Vector<T, 2 * n>::load(from + width);
  Vector<T, n> mean;
#pragma unroll
  for (int j = 0; j < n; ++j)
    mean.v[j] =
        (((T(0) + top.v[2 * j]) + top.v[2 * j + 1] + bottom.v[2 * j]) + bottom.v[2 * j + 1]) * T(0.25);
  mean.store(y + at.number * n);
}

template <class T, int n>
__global__ void __launch_bounds__(kPoolThreads, 1)
    avg_pool_halves_backward(T* dx, const T* dy, int64_t width, Points points) {
  const Point at(points);
  if (at.number >= points.count) return;
  const Vector<T, n> g = Vector<T, n>::load(dy + at.number * n);
  Vector<T, 2 * n> twice;
#pragma unroll
  for (int j = 0; j < n; ++j) twice.v[2 * j] = twice.v[2 * j + 1] = g.v[j] * T(0.25);
  T* to = dx + 2 * (at.number - at.column) * 2 * n + at.column * 2 * n;
  twice.store(to);
  twice.store(to + width);
}

// ---- launching --------------------------------------------------------------------------------------------
template <class T>
Status launch_avg_pool_whole(Context& ctx, const PoolParams& p) {
  const int64_t size = p.h * p.w;
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  auto run = [&]<int N, int V>(int threads) {
    const TeamGrid g = team_grid<T>(p.planes, threads);
    return launch<avg_pool_whole<T, N, V>>(ctx, g.grid, g.block, g.shared, y, x, p.planes,
                                           Row<T, V>{size, vector_aligned(x)}, threads);
  };
  constexpr int kFew = kFewHeld<T>, kSome = kHeld<T, 64>;
  auto run_with = [&]<int V>() {
    if (size <= kFew * kWarpSize)
      return run.template operator()<kFew, V>(power_of_two(ceil_div<int64_t>(size, kFew), kWarpSize));
    const int threads = power_of_two(ceil_div<int64_t>(size, kSome), 1024);
    return run.template operator()<kSome, V>(threads < kWarpSize ? kWarpSize : threads);
  };
  return size % kVector<T> == 0 ? run_with.template operator()<kVector<T>>()
                                : run_with.template operator()<1>();
}

template <class T>
Status launch_avg_pool(Context& ctx, const PoolParams& p) {
  if (p.p == 1 && p.q == 1 && p.kernel_h == p.h && p.kernel_w == p.w && p.pad_h == 0 && p.pad_w == 0)
    return launch_avg_pool_whole<T>(ctx, p);
  const Points points(p.planes, p.p, p.q);
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  auto general = [&]<int K>() {
    return launch<avg_pool_forward<T, K>>(ctx, points.grid(), kPoolThreads, 0, y, x, p.count_include_pad,
                                          Pooling(p), points);
  };
  if (halves(p))
    return with_span<T>(p, x, y, [&]<int n>() {
      if constexpr (n == 0) {
        return general.template operator()<2>();
      } else {
        const Points spans(p.planes, p.p, p.q / n);
        return launch<avg_pool_halves<T, n>>(ctx, spans.grid(), kPoolThreads, 0, y, x, p.w, spans);
      }
    });
  if (p.kernel_h == 2 && p.kernel_w == 2) return general.template operator()<2>();
  if (p.kernel_h == 3 && p.kernel_w == 3) return general.template operator()<3>();
  return general.template operator()<0>();
}

template <class T>
Status launch_avg_pool_backward(Context& ctx, const PoolParams& p) {
  T* dx = static_cast<T*>(p.y);
  const T* dy = static_cast<const T*>(p.x);
  auto general = [&] {
    const Points points = pixel_points(p);
    return launch<avg_pool_backward<T>>(ctx, points.grid(), kPoolThreads, 0, dx, dy, p.count_include_pad,
                                        Pooling(p), points, whole_pixels(p));
  };
  if (!halves(p)) return general();
  return with_span<T>(p, dx, dy, [&]<int n>() {
    if constexpr (n == 0) {
      return general();
    } else {
      const Points spans(p.planes, p.p, p.q / n);
      return launch<avg_pool_halves_backward<T, n>>(ctx, spans.grid(), kPoolThreads, 0, dx, dy, p.w, spans);
    }
  });
}

}  // namespace fastnn::cuda
