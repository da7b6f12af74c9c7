// Copying slices from and to listed places. Only bits are moved, so that there is one kernel for all types of
// a size. A thread has kMoves vectors, or elements where slices are no whole vectors. The floor is what is
// read and written, and the list.
#pragma once
#include "backend/index.h"
#include "cuda/common/vector.cuh"
#include "cuda/index/order.cuh"

namespace fastnn::cuda {

constexpr int kMoveThreads = 256, kMoves = 4;

// Calls move(j, i, column) for kMoves places of this thread: columns [column, column + V) of slice i, j
// counts.
template <int V, class F>
__device__ void for_moves(int64_t count, const WideDivide& by_vectors, F&& move) {
  const int64_t vectors = static_cast<int64_t>(by_vectors.divisor), total = count * vectors;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMoveThreads * kMoves) + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kMoves; ++j) {
    const int64_t at = first + j * kMoveThreads;
    const int64_t i = by_vectors.quotient(at);
    if (at < total) move(j, i, (at - i * vectors) * V);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kMoveThreads, 1)
    gather_slices(T* y, const T* x, const int64_t* offset, int64_t count, int64_t inner,
                  WideDivide by_vectors) {
  Vector<T, V> held[kMoves];
  for_moves<V>(count, by_vectors, [&](int j, int64_t i, int64_t column) {
    const int64_t at = offset[i];
    const T* from = x + at + column;
    held[j] = at == kNowhere ? Vector<T, V>{} : Vector<T, V>::load(from, vector_aligned(from));
  });
  for_moves<V>(count, by_vectors,
               [&](int j, int64_t i, int64_t column) { held[j].store(y + i * inner + column); });
}

// Of several slices for one place the last of the list is written: it is the last of its kind in order.
template <class T, int V>
__global__ void __launch_bounds__(kMoveThreads, 1)
    put_slices(T* y, const T* x, Order order, int64_t inner, WideDivide by_vectors) {
  const uint32_t* sorted = order.sorted();
  Vector<T, V> held[kMoves];
  int64_t to[kMoves];
  for_moves<V>(order.count, by_vectors, [&](int j, int64_t s, int64_t column) {
    const uint32_t i = sorted[s], next = sorted[s + 1 < order.count ? s + 1 : s];
    const int64_t at = order.offset[i];
    to[j] = at == kNowhere || (i != next && at == order.offset[next]) ? kNowhere : at + column;
    held[j] = Vector<T, V>::load(x + i * inner + column);
  });
  for_moves<V>(order.count, by_vectors, [&](int j, int64_t, int64_t) {
    if (to[j] != kNowhere) held[j].store(y + to[j], vector_aligned(y + to[j]));
  });
}

struct MoveGrid {
  WideDivide by_vectors;
  dim3 grid;
  MoveGrid(int64_t count, int64_t vectors)
      : by_vectors(static_cast<uint64_t>(vectors)),
        grid(static_cast<unsigned>(ceil_div<int64_t>(count * vectors, kMoveThreads * kMoves))) {}
};

template <class T, int V>
Status gather_all(Context& ctx, const IndexParams& p) {
  const MoveGrid g(p.count, p.inner / V);
  return launch<gather_slices<T, V>>(ctx, g.grid, kMoveThreads, 0, static_cast<T*>(p.y),
                                     static_cast<const T*>(p.x), p.offset, p.count, p.inner, g.by_vectors);
}
template <class T, int V>
Status put_part(Context& ctx, const IndexParams& p, int64_t first, const Order& order) {
  const MoveGrid g(order.count, p.inner / V);
  return launch<put_slices<T, V>>(ctx, g.grid, kMoveThreads, 0, static_cast<T*>(p.y),
                                  static_cast<const T*>(p.x) + first * p.inner, order, p.inner, g.by_vectors);
}

template <class T>
Status gather_moves(Context& ctx, const IndexParams& p) {
  if (p.count == 0 || p.inner == 0) return Status::ok;
  const bool vectors = p.inner % kVector<T> == 0 && vector_aligned(p.y);
  return vectors ? gather_all<T, kVector<T>>(ctx, p) : gather_all<T, 1>(ctx, p);
}
template <class T>
Status put_moves(Context& ctx, const IndexParams& p) {
  if (p.count == 0 || p.inner == 0) return Status::ok;
  const int64_t part = p.count < kLongestList ? p.count : kLongestList;
  char* memory = workspace<char>(ctx, OrderSpace(part).bytes);
  if (!memory) return Status::need_workspace;
  const bool vectors = p.inner % kVector<T> == 0 && vector_aligned(p.x);
  for (int64_t first = 0; first < p.count; first += part) {
    const int64_t count = p.count - first < part ? p.count - first : part;
    Order order{};
    Status status = order_offsets(ctx, p, first, count, memory, &order);
    if (status == Status::ok)
      status = vectors ? put_part<T, kVector<T>>(ctx, p, first, order) : put_part<T, 1>(ctx, p, first, order);
    if (status != Status::ok) return status;
  }
  return Status::ok;
}

}  // namespace fastnn::cuda
