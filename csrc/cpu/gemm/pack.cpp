#include "cpu/gemm/pack.h"

#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

template <class T>
void pack_transposed(T* out, int width, const T* x, int64_t lane_stride, int lanes, int stored, int64_t k) {
  using V = Vec<T>;
  for (int64_t p = 0; p < k; p += V::N, x += V::N) {
    const int depth = static_cast<int>(min_of(V::N, k - p));
    V row[V::N];
    load_transposed(row, x, lane_stride, lanes, depth);
    if (stored == V::N && depth == V::N) {
#pragma GCC unroll 16
      for (int i = 0; i < V::N; ++i) row[i].store(out + (p + i) * width);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < V::N; ++i)
        if (i < depth) row[i].store_n(out + (p + i) * width, stored);
    }
  }
}

template <class T>
void pack_rows(T* out, int width, const T* x, int64_t stride, int lanes, int stored, int64_t k) {
  using V = Vec<T>;
  if (lanes == V::N) {
    for (int64_t p = 0; p < k; ++p) V::load(x + p * stride).store(out + p * width);
  } else {
    for (int64_t p = 0; p < k; ++p) V::load_n(x + p * stride, lanes).store_n(out + p * width, stored);
  }
}

template <class T>
void pack_strided(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int lanes, int stored,
                  int64_t k) {
  for (int64_t p = 0; p < k; ++p)
    for (int i = 0; i < stored; ++i) out[p * width + i] = i < lanes ? x[i * lane_stride + p * stride] : T(0);
}

}  // namespace

template <class T>
void pack_panel(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int lanes, int64_t k) {
  constexpr int N = Vec<T>::N;
  for (int first = 0; first < lanes; first += N) {
    const int here = static_cast<int>(min_of(N, lanes - first)),
              stored = static_cast<int>(min_of(N, width - first));
    const T* from = x + first * lane_stride;
    if (lane_stride == 1)
      pack_rows(out + first, width, from, stride, here, stored, k);
    else if (stride == 1)
      pack_transposed(out + first, width, from, lane_stride, here, stored, k);
    else
      pack_strided(out + first, width, from, lane_stride, stride, here, stored, k);
  }
}
template void pack_panel(float* out, int width, const float* x, int64_t lane_stride, int64_t stride,
                         int lanes, int64_t k);
template void pack_panel(double* out, int width, const double* x, int64_t lane_stride, int64_t stride,
                         int lanes, int64_t k);

}  // namespace fastnn::FASTNN_ISA
