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

namespace {

// A run of offsets that differ in the last dimension, and where it begins.
struct Run {
  int64_t at[kMaxDims];
  int64_t count;

  int64_t start(const LocateParams& p, const int64_t* stride) const {
    int64_t sum = 0;
    for (int d = 0; d < p.ndim; ++d) sum += at[d] * stride[d];
    return sum;
  }
};
constexpr int64_t kRun = 1 << 12;

// Calls f(run, offset) for the runs [begin, end) of all, in order; `pieces` of them make up a last dimension.
template <class F>
FASTNN_INLINE void for_runs(const LocateParams& p, int64_t pieces, int64_t begin, int64_t end, F&& f) {
  const int last = p.ndim - 1;
  const int64_t n = p.shape[last];
  Run run;
  int64_t rest = begin / pieces, piece = begin % pieces;
  int64_t* row = p.offset + rest * n;
  for (int d = last - 1; d >= 0; --d) run.at[d] = rest % p.shape[d], rest /= p.shape[d];
  for (int64_t r = begin; r < end; ++r) {
    run.at[last] = piece * kRun;
    run.count = n - run.at[last] < kRun ? n - run.at[last] : kRun;
    f(run, row + run.at[last]);
    if (++piece < pieces) continue;
    piece = 0, row += n;
    for (int d = last - 1; d >= 0 && ++run.at[d] == p.shape[d]; --d) run.at[d] = 0;
  }
}

// An index counts from the end if it is negative; a label does not.
FASTNN_INLINE int64_t lowest_index(const IndexRule& rule) {
  return rule.dim == IndexRule::kLabels ? 0 : -rule.size;
}

// Adds a term to a run; whether an index was out of range, which leaves its offset wrong, for the op fails.
FASTNN_INLINE bool add_term(int64_t* offset, const LocateParams::Term& t, const int64_t* index,
                            int64_t stride, int64_t n) {
  const auto size = static_cast<uint64_t>(t.rule.size), step = static_cast<uint64_t>(t.step);
  const auto below_zero = static_cast<uint64_t>(-lowest_index(t.rule));
  bool bad = false;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = index[i * stride];
    const uint64_t from_start = static_cast<uint64_t>(at) + (at < 0 ? below_zero : 0);
    bad |= from_start >= size;
    offset[i] = static_cast<int64_t>(static_cast<uint64_t>(offset[i]) + from_start * step);
  }
  return bad;
}

// Notes the first one in order, whatever thread met one first.
[[gnu::cold, gnu::noinline]] void note_first(Context& ctx, const LocateParams& p, int64_t pieces,
                                             int64_t runs) {
  const int last = p.ndim - 1;
  for (int k = 0; k < p.terms; ++k) {
    const LocateParams::Term& t = p.term[k];
    if (!t.rule.op) continue;
    for_runs(p, pieces, 0, runs, [&](const Run& run, const int64_t*) {
      const int64_t* index = t.index + run.start(p, t.stride);
      for (int64_t i = 0; i < run.count && ctx.bad_index->taken == 0; ++i)
        if (const int64_t at = index[i * t.stride[last]]; at < lowest_index(t.rule) || at >= t.rule.size)
          note_bad_index(*ctx.bad_index, t.rule, at);
    });
  }
}

}  // namespace

template <class T>
Status locate(Context& ctx, const LocateParams& p) {
  if (p.numel == 0) return Status::ok;
  const int last = p.ndim - 1;
  const int64_t n = p.shape[last], pieces = ceil_div(n, kRun), runs = p.numel / n * pieces;
  const int64_t per_task = ceil_div(kRun, n);
  bool bad = false;
  const Status status = parallel_for(ctx, ceil_div(runs, per_task), p.nanoseconds(), [&](int64_t task, int) {
    const int64_t begin = task * per_task, end = begin + per_task < runs ? begin + per_task : runs;
    bool found = false;
    for_runs(p, pieces, begin, end, [&](const Run& run, int64_t* offset) {
      const int64_t start = p.start + run.start(p, p.step);
      for (int64_t i = 0; i < run.count; ++i) offset[i] = start + i * p.step[last];
      for (int k = 0; k < p.terms; ++k) {
        const LocateParams::Term& t = p.term[k];
        const int64_t* index = t.index + run.start(p, t.stride);
        const int64_t stride = t.stride[last];
        if (!t.rule.op)
          for (int64_t i = 0; i < run.count; ++i) offset[i] += index[i * stride];
        else
          found |= add_term(offset, t, index, stride, run.count);
      }
    });
    if (found) __atomic_store_n(&bad, true, __ATOMIC_RELAXED);
  });
  if (status != Status::ok || !bad) return status;
  note_first(ctx, p, pieces, runs);
  // Indices that another thread has changed meanwhile are read once more.
  return ctx.bad_index->taken ? Status::ok : locate<T>(ctx, p);
}

FASTNN_EXPORT(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn::FASTNN_ISA
