// Moving slices to and from listed offsets. A slice is `inner` dense elements.
//
// gather's outputs are independent and are shared out by range. scatter_add and put may meet one place
// several times and promise the order of the list, so they are shared out by column: every task walks the
// whole list, over its own columns.
#include "backend/index.h"
#include "backend/integers.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kTaskBytes = 1 << 17;
constexpr int64_t kColumnBytes =
    1024;  // a task's share of a slice: whole cache lines, some of them, for the prefetcher
constexpr double kNsPerSlice = 2, kBytesPerNs = 8;

double cost(const IndexParams& p, size_t size) {
  return static_cast<double>(p.count) *
         (kNsPerSlice + static_cast<double>(p.inner) * static_cast<double>(size) / kBytesPerNs);
}

// Calls f(first, width) for ranges of columns that cover a slice.
template <class T, class F>
Status for_columns(Context& ctx, const IndexParams& p, F&& f) {
  constexpr int64_t kColumns = kColumnBytes / static_cast<int64_t>(sizeof(T));
  return parallel_for(ctx, ceil_div(p.inner, kColumns), cost(p, sizeof(T)), [&](int64_t task, int) {
    const int64_t first = task * kColumns;
    f(first, p.inner - first < kColumns ? p.inner - first : kColumns);
  });
}

}  // namespace

template <class T>
Status gather(Context& ctx, const IndexParams& p) {
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  const int64_t slice = p.inner * static_cast<int64_t>(sizeof(T)) + 1;
  const int64_t per_task = slice < kTaskBytes / 16 ? kTaskBytes / slice : 16;
  return parallel_for(ctx, ceil_div(p.count, per_task), cost(p, sizeof(T)), [&](int64_t task, int) {
    const int64_t begin = task * per_task, end = begin + per_task < p.count ? begin + per_task : p.count;
    if (p.inner == 1)
      for (int64_t i = begin; i < end; ++i) y[i] = x[p.offset[i]];
    else
      for (int64_t i = begin; i < end; ++i)
        memcpy(y + i * p.inner, x + p.offset[i], static_cast<size_t>(p.inner) * sizeof(T));
  });
}

template <class T>
Status scatter_add(Context& ctx, const IndexParams& p) {
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  return for_columns<T>(ctx, p, [&](int64_t first, int64_t width) {
    for (int64_t i = 0; i < p.count; ++i) {
      T* to = y + p.offset[i] + first;
      const T* from = x + i * p.inner + first;
      for (int64_t j = 0; j < width; ++j) to[j] = static_cast<T>(to[j] + from[j]);
    }
  });
}

template <class T>
Status put(Context& ctx, const IndexParams& p) {
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  return for_columns<T>(ctx, p, [&](int64_t first, int64_t width) {
    if (width == 1)
      for (int64_t i = 0; i < p.count; ++i) y[p.offset[i] + first] = x[i * p.inner + first];
    else
      for (int64_t i = 0; i < p.count; ++i)
        memcpy(y + p.offset[i] + first, x + i * p.inner + first, static_cast<size_t>(width) * sizeof(T));
  });
}

// Serial: where an element's offset goes depends on how many are true before it.
template <class T>
Status nonzero(Context&, const NonzeroParams& p) {
  const Loop<2>& loop = p.loop;
  const int last = loop.ndim - 1;
  int64_t* y = p.y;
  int64_t at[kMaxDims] = {};
  const T* row = p.x;
  int64_t offset = 0;
  if (loop.numel == 0) return Status::ok;
  for (;;) {
    for (int64_t i = 0; i < loop.shape[last]; ++i)
      if (row[i * loop.stride[1][last]]) *y++ = offset + i * loop.stride[0][last];
    int d = last - 1;
    for (; d >= 0; --d) {
      row += loop.stride[1][d], offset += loop.stride[0][d];
      if (++at[d] < loop.shape[d]) break;
      row -= loop.shape[d] * loop.stride[1][d], offset -= loop.shape[d] * loop.stride[0][d];
      at[d] = 0;
    }
    if (d < 0) return Status::ok;
  }
}

// Of no indices: {INT64_MAX, INT64_MIN}. One pass at memory speed; the loop is the compiler's to vectorise.
template <class T>
Status index_range(Context&, const IndexRangeParams& p) {
  T low = INT64_MAX, high = INT64_MIN;
  for (int64_t i = 0; i < p.count; ++i) {
    const T at = p.index[i];
    low = at < low ? at : low;
    high = at > high ? at : high;
  }
  p.range[0] = low, p.range[1] = high;
  return Status::ok;
}

FASTNN_EXPORT(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn::FASTNN_ISA
