// Softmax of rows whose elements lie `inner` apart, and its gradient: a block has kColumns neighbouring rows,
// columns in memory, and up to 32 threads for each. Elements stay in registers where those threads hold them
// all; else they are read twice, the second time from the cache if at all possible.
#pragma once
#include "backend/softmax.h"
#include "cuda/common/nest.cuh"
#include "cuda/softmax/rows.cuh"

namespace fastnn::cuda {

constexpr int kColumns = 32, kColumnThreads = 32;

template <class T>
struct Column {
  int64_t first, inner;
  int size;  // as counted in int: memory ends before columns do
  int rank, threads;
  T* scratch;  // threads * kColumns

  __device__ Column(int64_t size_, int64_t inner, int64_t count, const WideDivide& by_inner,
                    SharedMemory& shared)
      : inner(inner), rank(threadIdx.y), threads(blockDim.y) {
    const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
    const int64_t outer = by_inner.quotient(column);
    first = outer * size_ * inner + (column - outer * inner);
    size = column < count ? static_cast<int>(size_) : 0;
    scratch = shared.take<T>(static_cast<size_t>(threads * kColumns));
  }
  __device__ int number(int j) const { return j * threads + rank; }
  __device__ int64_t offset(int i) const { return first + i * inner; }

  template <class F>
  __device__ T reduce(T v, F combine) const {
    if (threads == 1) return v;
    T* const place = scratch + rank * kColumns + threadIdx.x;
    *place = v;
    for (int half = threads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (rank < half) *place = combine(*place, place[half * kColumns]);
    }
    __syncthreads();
    v = scratch[threadIdx.x];
    __syncthreads();
    return v;
  }
};

template <class T, bool logarithmic, bool held>
__global__ void __launch_bounds__(kColumns* kColumnThreads, 1)
    softmax_columns_kernel(T* y, const T* x, int64_t size, int64_t inner, int64_t count,
                           WideDivide by_inner) {
  constexpr int N = kHeld<T, 64>;
  SharedMemory shared;
  const Column<T> column(size, inner, count, by_inner, shared);
  T v[N];
  ExpSum<T> part;
  for (int i = 0; held ? i == 0 : i < size; i += N * column.threads) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int at = i + column.number(j);
      v[j] = at < column.size ? x[column.offset(at)] : minus_infinity<T>();
    }
    add_exponentials(part, v);
  }
  const T top = column.reduce(part.top, Larger());
  part = {top, column.reduce(part.sum * math_exp(part.top - shift_of(top)), Plus())};
  const T normalizer = normalizer_of<T, logarithmic>(part.sum);
  for (int i = 0; held ? i == 0 : i < size; i += N * column.threads) {
#pragma unroll
    for (int j = 0; !held && j < N; ++j) {
      const int at = i + column.number(j);
      v[j] = at < column.size ? x[column.offset(at)] : T(0);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int at = i + column.number(j);
      if (at < column.size) y[column.offset(at)] = softmax_of<T, logarithmic>(v[j], part, normalizer);
    }
  }
}

template <class T, bool logarithmic, bool held>
__global__ void __launch_bounds__(kColumns* kColumnThreads, 1)
    softmax_backward_columns_kernel(T* dx, const T* dy, const T* y, int64_t size, int64_t inner,
                                    int64_t count, WideDivide by_inner) {
  constexpr int N = kHeld<T, 32>;
  SharedMemory shared;
  const Column<T> column(size, inner, count, by_inner, shared);
  T v[N], g[N], sum = T(0);
  auto load = [&](int i) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int at = i + column.number(j);
      v[j] = at < column.size ? y[column.offset(at)] : T(0);
      g[j] = at < column.size ? dy[column.offset(at)] : T(0);
    }
  };
  for (int i = 0; held ? i == 0 : i < size; i += N * column.threads) {
    load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += term_of<T, logarithmic>(v[j], g[j]);
  }
  sum = column.reduce(sum, Plus());
  for (int i = 0; held ? i == 0 : i < size; i += N * column.threads) {
    if (!held) load(i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int at = i + column.number(j);
      if (at < column.size) dx[column.offset(at)] = gradient_of<T, logarithmic>(v[j], g[j], sum);
    }
  }
}

struct ColumnGrid {
  dim3 grid, block;
  size_t shared;
  int64_t count;
  WideDivide by_inner;
  bool held;

  template <class T>
  static ColumnGrid of(const SoftmaxParams& p, int held_elements) {
    const unsigned threads =
        static_cast<unsigned>(power_of_two(ceil_div<int64_t>(p.size, held_elements), kColumnThreads));
    const int64_t count = p.outer * p.inner;
    return {dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kColumns))),
            dim3(kColumns, threads),
            SharedMemory::bytes<T>(threads * kColumns),
            count,
            WideDivide(static_cast<uint64_t>(p.inner)),
            p.size <= static_cast<int64_t>(threads) * held_elements};
  }
};

template <class T, bool logarithmic>
Status softmax_columns(Context& ctx, const SoftmaxParams& p) {
  const ColumnGrid g = ColumnGrid::of<T>(p, kHeld<T, 64>);
  auto run = [&]<bool held>() {
    return launch<softmax_columns_kernel<T, logarithmic, held>>(
        ctx, g.grid, g.block, g.shared, static_cast<T*>(p.y), static_cast<const T*>(p.x), p.size, p.inner,
        g.count, g.by_inner);
  };
  return g.held ? run.template operator()<true>() : run.template operator()<false>();
}

template <class T, bool logarithmic>
Status softmax_backward_columns(Context& ctx, const SoftmaxParams& p) {
  const ColumnGrid g = ColumnGrid::of<T>(p, kHeld<T, 32>);
  auto run = [&]<bool held>() {
    return launch<softmax_backward_columns_kernel<T, logarithmic, held>>(
        ctx, g.grid, g.block, g.shared, static_cast<T*>(p.y), static_cast<const T*>(p.dy),
        static_cast<const T*>(p.x), p.size, p.inner, g.count, g.by_inner);
  };
  return g.held ? run.template operator()<true>() : run.template operator()<false>();
}

}  // namespace fastnn::cuda
