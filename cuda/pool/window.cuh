// The geometry of pooling windows, and who computes which point of a plane.
#pragma once
#include "backend/pool.h"
#include "cuda/common/nest.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {

// One side of the image. Output `at` has its tap t on pixel at * stride - pad + t * dilation, if that is
// inside.
struct Side {
  int size, outputs, kernel, stride, pad, dilation;
  FastDivide by_stride, by_dilation;

  __host__ Side(int64_t size, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
      : size(static_cast<int>(size)),
        outputs(static_cast<int>(outputs)),
        kernel(static_cast<int>(kernel)),
        stride(outputs > 1 ? static_cast<int>(stride) : 1),  // of one window, or tap, any will do
        pad(static_cast<int>(pad)),
        dilation(kernel > 1 ? static_cast<int>(dilation) : 1),
        by_stride(static_cast<unsigned>(this->stride)),
        by_dilation(static_cast<unsigned>(this->dilation)) {}

  __device__ int origin(int at) const { return at * stride - pad; }
  // The taps [begin, end) of a window that are inside.
  __device__ int begin(int origin, int end) const {
    if (origin >= 0) return 0;
    const int first = static_cast<int>(by_dilation.quotient(static_cast<unsigned>(dilation - 1 - origin)));
    return first < end ? first : end;
  }
  __device__ int end(int origin) const {
    if (origin >= size) return 0;
    const int taps = static_cast<int>(by_dilation.quotient(static_cast<unsigned>(size - 1 - origin))) + 1;
    return taps < kernel ? taps : kernel;
  }
  // The outputs [first, last] whose windows reach over a pixel.
  __device__ int first_output(int pixel) const {
    const int behind = pixel + pad - (kernel - 1) * dilation;
    return behind <= 0 ? 0 : static_cast<int>(by_stride.quotient(static_cast<unsigned>(behind + stride - 1)));
  }
  __device__ int last_output(int pixel) const {
    const int last = static_cast<int>(by_stride.quotient(static_cast<unsigned>(pixel + pad)));
    return last < outputs ? last : outputs - 1;
  }
};

struct Pooling {
  Side h, w;
  FastDivide by_kernel_w;
  int64_t pixels, windows;  // of a plane

  __host__ explicit Pooling(const PoolParams& p)
      : h(p.h, p.p, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h),
        w(p.w, p.q, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w),
        by_kernel_w(static_cast<unsigned>(p.kernel_w)),
        pixels(p.h * p.w),
        windows(p.p * p.q) {}
};
// Sides are counted in int, with room for padding and reach.
inline bool countable(const PoolParams& p) { return p.h < 1 << 29 && p.w < 1 << 29; }

constexpr int kPoolThreads = 256;
constexpr int kPixels = 4;

// A thread for each of planes * rows * columns points.
struct Points {
  WideDivide by_columns, by_rows;
  int64_t count;

  __host__ Points(int64_t planes, int64_t rows, int64_t columns)
      : by_columns(static_cast<uint64_t>(columns > 0 ? columns : 1)),
        by_rows(static_cast<uint64_t>(rows > 0 ? rows : 1)),
        count(planes * rows * columns) {}
  __host__ dim3 grid() const { return dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kPoolThreads))); }
};
struct Point {
  int64_t number, plane;
  int row, column;

  __device__ explicit Point(const Points& points) {
    number = static_cast<int64_t>(blockIdx.x) * kPoolThreads + threadIdx.x;
    const int64_t rows = points.by_columns.quotient(number);
    plane = points.by_rows.quotient(rows);
    column = static_cast<int>(number - rows * static_cast<int64_t>(points.by_columns.divisor));
    row = static_cast<int>(rows - plane * static_cast<int64_t>(points.by_rows.divisor));
  }
};

// A window: where its tap 0 is, and its taps [begin, end) inside the image.
struct Window {
  int top, left, row_begin, row_end, column_begin, column_end;

  __device__ Window(const Pooling& p, int row, int column) : top(p.h.origin(row)), left(p.w.origin(column)) {
    row_end = p.h.end(top), row_begin = p.h.begin(top, row_end);
    column_end = p.w.end(left), column_begin = p.w.begin(left, column_end);
  }
  // Calls f(pixel, tap) for the taps inside, in order; K is the kernel's side where that is known.
  template <int K, class T, class F>
  __device__ void each(const Pooling& p, const T* x, F&& f) const {
    if constexpr (K > 0) {
      T held[K * K];
#pragma unroll
      for (int t = 0; t < K * K; ++t) held[t] = inside(t / K, t % K) ? x[at(p, t / K, t % K)] : T(0);
#pragma unroll
      for (int t = 0; t < K * K; ++t)
        if (inside(t / K, t % K)) f(held[t], t);
    } else {
      for (int r = row_begin; r < row_end; ++r)
#pragma unroll 4
        for (int s = column_begin; s < column_end; ++s) f(x[at(p, r, s)], r * p.w.kernel + s);
    }
  }

 private:
  __device__ bool inside(int r, int s) const {
    return r >= row_begin && r < row_end && s >= column_begin && s < column_end;
  }
  __device__ int64_t at(const Pooling& p, int r, int s) const {
    return static_cast<int64_t>(top + r * p.h.dilation) * p.w.size + left + s * p.w.dilation;
  }
};

// ---- backward: kPixels neighbours of a row to a thread

// They, and the outputs [row_first, row_last] x [column_first, column_last] whose windows reach over one.
struct Pixels {
  int column, count, row_first, row_last, column_first, column_last;
  int64_t place;  // of the first

  __device__ Pixels(const Pooling& p, const Point& at) : column(at.column * kPixels) {
    count = column + kPixels <= p.w.size ? kPixels : p.w.size - column;
    row_first = p.h.first_output(at.row), row_last = p.h.last_output(at.row);
    column_first = p.w.first_output(column), column_last = p.w.last_output(column + count - 1);
    place = at.plane * p.pixels + static_cast<int64_t>(at.row) * p.w.size + column;
  }
  // With `whole`, all threads have all of theirs, aligned.
  template <class T>
  __device__ void store(T* dx, const Vector<T, kPixels>& v, bool whole) const {
    if (whole) return v.store(dx + place);
#pragma unroll
    for (int j = 0; j < kPixels; ++j)
      if (j < count) dx[place + j] = v.v[j];
  }
};
inline Points pixel_points(const PoolParams& p) {
  return Points(p.planes, p.h, ceil_div<int64_t>(p.w, kPixels));
}
inline bool whole_pixels(const PoolParams& p) { return p.w % kPixels == 0 && vector_aligned(p.y); }

// ---- 2 x 2 windows with stride 2, the usual case, on images they cover
inline bool halves(const PoolParams& p) {
  return p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.pad_h == 0 &&
         p.pad_w == 0 && p.dilation_h == 1 && p.dilation_w == 1 && 2 * p.p == p.h && 2 * p.q == p.w;
}

// Calls run.operator()<n>(): n outputs of a row to a thread, as many as sizes and alignment allow. 0: there
// is no alignment for two pixels even.
template <class T, class F>
Status with_span(const PoolParams& p, const void* pixels, const void* windows, const F& run) {
  auto fits = [&](int n) {
    auto even = [](const void* q, int bytes) { return aligned_to(q, bytes < 16 ? bytes : 16); };
    const int bytes = n * static_cast<int>(sizeof(T));
    return p.q % n == 0 && even(pixels, 2 * bytes) && even(windows, bytes) && even(p.index, n);
  };
  if (fits(4)) return run.template operator()<4>();
  if (fits(2)) return run.template operator()<2>();
  if (fits(1)) return run.template operator()<1>();
  return run.template operator()<0>();
}

}  // namespace fastnn::cuda
