#include "cpu/gemm/pack.h"

#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

// Where lanes lie side by side rows are copied, of several panels at a time: a row's cache lines are then
// used whole, and its page is looked up once. Vectors are stored whole, as a masked store is slow on some
// processors: what is beyond the width is rows that come later, but for the last ones.
template <class T>
void copy_rows(T* out, int width, const T* x, int64_t stride, int64_t lanes, int64_t k) {
  using V = Vec<T>;
  for (int64_t p = 0; p < k; ++p, x += stride, out += width) {
    T* to = out;
    for (int64_t at = 0; at < lanes; at += width, to += k * width)
      for (int first = 0; first < width && at + first < lanes; first += V::N) {
        const int64_t left = lanes - at - first;
        const V row =
            left >= V::N ? V::load(x + at + first) : V::load_n(x + at + first, static_cast<int>(left));
        if (static_cast<int64_t>(first) + V::N <= (k - p) * width)
          row.store(to + first);
        else
          row.store_n(to + first, width - first);
      }
  }
}

// Where p does (A row-major, B transposed), square blocks are transposed in registers. One panel, its last
// vector first: what that spills into the next row is written after it.
template <class T>
void transpose_rows(T* out, int width, const T* x, int64_t lane_stride, int lanes, int64_t k) {
  using V = Vec<T>;
  for (int first = (lanes - 1) / V::N * V::N; first >= 0; first -= V::N)
    for (int64_t p = 0; p < k; p += V::N) {
      const int depth = static_cast<int>(min_of(V::N, k - p));
      V row[V::N];
      load_transposed(row, x + first * lane_stride + p, lane_stride, min_of(V::N, lanes - first), depth);
      T* const to = out + p * width + first;
      const int64_t room = (k - p) * width - first;  // to the end of the panel
      if (depth == V::N && (V::N - 1) * width + V::N <= room) {
#pragma GCC unroll 16
        for (int i = 0; i < V::N; ++i) row[i].store(to + i * width);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < V::N; ++i)
          if (i < depth) row[i].store_n(to + i * width, min_of(V::N, width - first));
      }
    }
}

template <class T>
void gather_rows(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int lanes, int64_t k) {
  const int stored = min_of(width, round_up(lanes, Vec<T>::N));
  for (int64_t p = 0; p < k; ++p)
    for (int i = 0; i < stored; ++i) out[p * width + i] = i < lanes ? x[i * lane_stride + p * stride] : T(0);
}

}  // namespace

template <class T>
void pack_panels(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int64_t lanes,
                 int64_t k) {
  const int64_t step = lane_stride == 1 ? panels_together<T>(width) * width : width;
  for (int64_t first = 0; first < lanes; first += step, out += step * k) {
    const T* from = x + first * lane_stride;
    const int64_t here = min_of(step, lanes - first);
    if (lane_stride == 1)
      copy_rows(out, width, from, stride, here, k);
    else if (stride == 1)
      transpose_rows(out, width, from, lane_stride, static_cast<int>(here), k);
    else
      gather_rows(out, width, from, lane_stride, stride, static_cast<int>(here), k);
  }
}
template void pack_panels(float* out, int width, const float* x, int64_t lane_stride, int64_t stride,
                          int64_t lanes, int64_t k);
template void pack_panels(double* out, int width, const double* x, int64_t lane_stride, int64_t stride,
                          int64_t lanes, int64_t k);

}  // namespace fastnn::FASTNN_ISA
