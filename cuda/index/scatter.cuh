// Adding slices to listed places. The list is put in order of places first (order.cuh) and cut into
// windows of kWindow entries; `threads` threads walk a window, each with its own columns of the slices, and
// add up what falls into one place: first what lies there, then the slices in order of the list. A place
// whose entries go on into later windows gets their sums, left in `front`, from a second kernel, window by
// window: so a place named a million times is still shared out. The order of additions depends on the
// offsets alone.
//
// The floor is the slices read once, the places read and written once; ordering adds some 50 bytes an entry.
#pragma once
#include "backend/index.h"
#include "cuda/common/vector.cuh"
#include "cuda/index/order.cuh"

namespace fastnn::cuda {

constexpr int kWindow = 32, kScatterThreads = 256, kScatterBatch = 4;

template <class T, int V>
__device__ void add(Vector<T, V>& sum, const Vector<T, V>& other) {
#pragma unroll
  for (int j = 0; j < V; ++j) sum.v[j] = static_cast<T>(sum.v[j] + other.v[j]);
}

template <class T>
struct Scatter {
  T* y;
  const T* x;
  T* front;  // windows x inner
  Order order;
  int64_t inner, windows;
  int threads;  // of a window, a power of two

  __device__ int64_t offset(const uint32_t* sorted, int64_t s) const { return order.offset[sorted[s]]; }
  // Whether a window begins within the entries of one place.
  __device__ bool continues(const uint32_t* sorted, int64_t window) const {
    const int64_t s = window * kWindow;
    return s > 0 && s < order.count && offset(sorted, s) == offset(sorted, s - 1);
  }
  // This thread's window, and first column; false if it has none.
  __device__ bool find(int V, int64_t& window, int64_t& column) const {
    const int64_t team = (static_cast<int64_t>(blockIdx.x) * kScatterThreads + threadIdx.x) / threads;
    window = team % windows;
    column = (team / windows * threads + (static_cast<int>(threadIdx.x) & (threads - 1))) * V;
    return column < inner;
  }
};

template <class T, int V>
__global__ void __launch_bounds__(kScatterThreads, 1) scatter_windows(Scatter<T> p) {
  int64_t window, column;
  if (!p.find(V, window, column)) return;
  const uint32_t* sorted = p.order.sorted();
  const int64_t begin = window * kWindow,
                end = begin + kWindow < p.order.count ? begin + kWindow : p.order.count;
  T* const y = p.y + column;
  T* const front = p.front + window * p.inner + column;
  int64_t current = p.continues(sorted, window) ? p.offset(sorted, begin) : kNowhere;
  bool open = current != kNowhere;  // slices that have no place are added up, and the sum forgotten
  T* to = front;
  Vector<T, V> sum{};
  for (int64_t s = begin; s < end; s += kScatterBatch) {
    uint32_t entry[kScatterBatch];
    int64_t offset[kScatterBatch];
    Vector<T, V> x[kScatterBatch], there[kScatterBatch];
#pragma unroll
    for (int j = 0; j < kScatterBatch; ++j) entry[j] = sorted[s + j < end ? s + j : s];
#pragma unroll
    for (int j = 0; j < kScatterBatch; ++j) {
      offset[j] = p.order.offset[entry[j]];
      x[j] = Vector<T, V>::load(p.x + entry[j] * p.inner + column);
    }
#pragma unroll
    for (int j = 0; j < kScatterBatch; ++j)  // no place is named before another's entries are through
      if (s + j < end && offset[j] != kNowhere && offset[j] != (j == 0 ? current : offset[j - 1]))
        there[j] = Vector<T, V>::load(y + offset[j], vector_aligned(y + offset[j]));
#pragma unroll
    for (int j = 0; j < kScatterBatch; ++j) {
      if (s + j >= end) break;
      if (offset[j] != current) {
        if (open) sum.store(to, vector_aligned(to));
        current = offset[j], open = current != kNowhere;
        sum = there[j], to = y + current;
      }
      add(sum, x[j]);
    }
  }
  if (open) sum.store(to, vector_aligned(to));
}

// Adds the later windows' sums for the places that have any.
template <class T, int V>
__global__ void __launch_bounds__(kScatterThreads, 1) scatter_fronts(Scatter<T> p) {
  int64_t window, column;
  if (!p.find(V, window, column)) return;
  const uint32_t* sorted = p.order.sorted();
  if (!p.continues(sorted, window)) return;
  const int64_t offset = p.offset(sorted, window * kWindow);
  if (offset == kNowhere) return;
  if (p.offset(sorted, (window - 1) * kWindow) == offset && p.continues(sorted, window - 1)) return;
  int64_t last = window * kWindow, beyond = p.order.count;  // the place's last entry is before `beyond`
  while (beyond - last > 1) {
    const int64_t middle = last + (beyond - last) / 2;
    (p.offset(sorted, middle) == offset ? last : beyond) = middle;
  }
  T* const y = p.y + offset + column;
  const bool aligned = vector_aligned(y);
  Vector<T, V> sum = Vector<T, V>::load(y, aligned);
  const T* front = p.front + column;
#pragma unroll 4
  for (int64_t w = window; w <= last / kWindow; ++w) add(sum, Vector<T, V>::load(front + w * p.inner));
  sum.store(y, aligned);
}

template <class T, int V>
Status scatter_part(Context& ctx, const Scatter<T>& s) {
  const int64_t columns = ceil_div<int64_t>(s.inner, static_cast<int64_t>(V) * s.threads),
                teams = s.windows * columns;
  const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(teams * s.threads, kScatterThreads)));
  const Status status = launch<scatter_windows<T, V>>(ctx, grid, kScatterThreads, 0, s);
  if (status != Status::ok || s.windows == 1) return status;
  return launch<scatter_fronts<T, V>>(ctx, grid, kScatterThreads, 0, s);
}

// Long lists go in parts, so that the workspace stays within some hundred megabytes.
template <class T>
Status scatter_slices(Context& ctx, const IndexParams& p) {
  constexpr int64_t kFrontBytes = 1 << 28;
  if (p.count == 0 || p.inner == 0) return Status::ok;
  const int64_t slice = p.inner * static_cast<int64_t>(sizeof(T));
  const int64_t fitting = (kFrontBytes / slice + 1) * kWindow;
  int64_t part = fitting < kLongestList ? fitting : kLongestList;
  if (p.count < part) part = p.count;
  const OrderSpace space(part);
  const int64_t windows = ceil_div<int64_t>(part, kWindow);
  char* memory = workspace<char>(ctx, space.bytes + static_cast<size_t>(windows * slice));
  if (!memory) return Status::need_workspace;
  const bool vectors = p.inner % kVector<T> == 0 && vector_aligned(p.x);
  const int threads = power_of_two(ceil_div<int64_t>(p.inner, vectors ? kVector<T> : 1), kScatterThreads);
  for (int64_t first = 0; first < p.count; first += part) {
    const int64_t count = p.count - first < part ? p.count - first : part;
    Scatter<T> s{static_cast<T*>(p.y),
                 static_cast<const T*>(p.x) + first * p.inner,
                 reinterpret_cast<T*>(memory + space.bytes),
                 {},
                 p.inner,
                 ceil_div<int64_t>(count, kWindow),
                 threads};
    Status status = order_offsets(ctx, p, first, count, memory, &s.order);
    if (status == Status::ok)
      status = vectors ? scatter_part<T, kVector<T>>(ctx, s) : scatter_part<T, 1>(ctx, s);
    if (status != Status::ok) return status;
  }
  return Status::ok;
}

}  // namespace fastnn::cuda
