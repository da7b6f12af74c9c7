// How the reductions go through memory. One output reduces a sequence of R elements: the reduced dimensions
// in row-major order. The sequence is cut into blocks of kPartialElements, each giving one partial result,
// and a kernel sees a block in one of two forms:
//   chunk    contiguous elements of one output, in place where they lie together, else packed into a buffer
//   tile     up to kTile neighbouring outputs, contiguous in memory, and the offsets of their rows
// Which form is taken follows from the strides alone, and both compute the same tree, so a transposed view
// gives the same bits as its copy.
#pragma once
#include "backend/context.h"
#include "backend/integers.h"
#include "backend/reduce.h"
#include "cpu/simd/cache.h"
#include "cpu/simd/sum.h"

namespace fastnn::FASTNN_ISA {

constexpr int kTile = 128;                  // outputs side by side
constexpr int kWideTile = 512;              // where there are many: longer runs of each row
constexpr int64_t kTaskElements = 1 << 15;  // elements a task reads: about 10 us from memory
constexpr int64_t kManyTasks = 64;          // beyond as many, tasks grow instead
constexpr double kBytesPerNs = 8;           // of one core from memory; only decides whether threads are woken

// A position in a nest and its offset in one operand.
template <int N>
struct Walker {
  const Loop<N>& loop;
  const int64_t* stride;
  int64_t index[kMaxDims];
  int64_t offset = 0;

  Walker(const Loop<N>& nest, int operand, int64_t position) : loop(nest), stride(nest.stride[operand]) {
    for (int d = loop.ndim - 1; d >= 0; --d) {
      index[d] = position % loop.shape[d];
      position /= loop.shape[d];
      offset += index[d] * stride[d];
    }
  }
  // n elements on, all but the last of them within the innermost dimension.
  FASTNN_INLINE void advance(int64_t n) {
    int d = loop.ndim - 1;
    index[d] += n;
    offset += n * stride[d];
    while (index[d] == loop.shape[d]) {
      offset -= index[d] * stride[d];
      index[d] = 0;
      if (--d < 0) return;
      ++index[d];
      offset += stride[d];
    }
  }
};

// Elements [first, first + n) of the sequence that starts at x, as C's: in place where possible, else in
// `buffer`.
template <class C, class T>
const C* gather_chunk(const Loop<1>& nest, const T* x, int64_t first, int n, C* buffer) {
  const int last = nest.ndim - 1;
  const int64_t stride = nest.stride[0][last], inner = nest.shape[last];
  if constexpr (std::is_same_v<C, T>)
    if (nest.ndim == 1 && stride == 1) return x + first;
  Walker<1> at(nest, 0, first);
  for (int done = 0; done < n;) {
    const int run = static_cast<int>(min_of(n - done, inner - at.index[last]));
    const T* src = x + at.offset;
    if constexpr (std::is_same_v<C, T>)
      if (run == n && stride == 1) return src;
    if (stride == 1)
      for (int i = 0; i < run; ++i) buffer[done + i] = static_cast<C>(src[i]);
    else
      for (int i = 0; i < run; ++i) buffer[done + i] = static_cast<C>(src[i * stride]);
    done += run;
    at.advance(run);
  }
  return buffer;
}

// A tile's columns lie side by side in x, and walking them beats walking an output's own elements.
inline bool walks_tiles(const ReduceParams& p) {
  const int kept = p.kept.ndim - 1, reduced = p.reduced.ndim - 1;
  return p.kept.stride[1][kept] == 1 && p.kept.shape[kept] > 1 &&
         (p.reduced.stride[0][reduced] != 1 || p.reduced.shape[reduced] == 1);
}

// Whether wide tiles leave enough tasks to share.
inline bool many_columns(const ReduceParams& p) {
  return p.kept.numel * ceil_div(p.reduced.numel, kPartialElements) >= 16 * kWideTile &&
         p.kept.shape[p.kept.ndim - 1] >= kWideTile;
}

inline int64_t blocks_of(const ReduceParams& p) {
  return max_of(1, ceil_div(p.reduced.numel, kPartialElements));
}

// Calls f(const C* chunk, int n, int64_t block, int64_t output) for every block of every output.
template <class C, class T, class F>
Status for_chunks(Context& ctx, const ReduceParams& p, F&& f) {
  const int64_t R = p.reduced.numel, blocks = blocks_of(p), units = p.kept.numel * blocks;
  const int64_t per_task =
      max_of(units / kManyTasks, max_of(1, kTaskElements / max_of(16, min_of(R, kPartialElements))));
  const double ns = static_cast<double>(units) *
                    (4 + static_cast<double>(min_of(R, kPartialElements)) * sizeof(T) / kBytesPerNs);
  const T* x = static_cast<const T*>(p.x);
  if constexpr (std::is_same_v<C, T>)  // short rows, evenly spaced: no bookkeeping between them
    if (blocks == 1 && p.kept.ndim == 1 && p.reduced.ndim == 1 && p.reduced.stride[0][0] == 1)
      return parallel_for(ctx, ceil_div(units, per_task), ns, [&](int64_t task, int) {
        const int64_t begin = task * per_task, end = min_of(units, begin + per_task),
                      step = p.kept.stride[1][0];
        const T* row = x + begin * step;
        for (int64_t i = begin; i < end; ++i, row += step) f(row, static_cast<int>(R), 0, i);
      });
  return parallel_for(ctx, ceil_div(units, per_task), ns, [&](int64_t task, int) {
    alignas(64) C buffer[kPartialElements];
    const int64_t end = min_of(units, (task + 1) * per_task);
    int64_t output = task * per_task / blocks, block = task * per_task % blocks;
    Walker<2> kept(p.kept, 1, output);
    for (int64_t unit = task * per_task; unit < end; ++unit) {
      const int64_t first = block * kPartialElements;
      const int n = static_cast<int>(min_of(kPartialElements, R - first));
      f(gather_chunk(p.reduced, x + kept.offset, first, n, buffer), n, block, output);
      if (++block == blocks) block = 0, ++output, kept.advance(1);
    }
  });
}

// Rows of a tile are far apart, so the processor's own prefetching does not follow them: each is asked for
// kAhead rows early.
constexpr int kAhead = 8;
constexpr int kMostAhead = 64;  // `offset` goes on so far behind the last row
template <class T>
FASTNN_INLINE void prefetch_row(const T* x, const int64_t* offset, int r) {
  const char* row = reinterpret_cast<const char*>(x + offset[r + kAhead]);
  for (int byte = 0; byte < kTile * static_cast<int>(sizeof(T)); byte += 64) __builtin_prefetch(row + byte);
}

// Calls f(const T* x, const int64_t* offset, int rows, int width, int64_t block, int64_t output) for every
// block of every tile: row r of the tile is x + offset[r], `width` elements, for the outputs from `output`
// on.
template <class T, class F>
Status for_tiles(Context& ctx, const ReduceParams& p, int tile_width, F&& f) {
  const int last = p.kept.ndim - 1;
  const int64_t R = p.reduced.numel, blocks = blocks_of(p), columns = p.kept.shape[last];
  const int64_t tiles = ceil_div(columns, tile_width), outer = p.kept.numel / columns,
                units = outer * blocks * tiles;
  const int64_t per_task = max_of(1, kTaskElements / (tile_width * max_of(1, min_of(R, kPartialElements))));
  const double bytes = static_cast<double>(p.kept.numel) * static_cast<double>(R) * sizeof(T);
  return parallel_for(ctx, ceil_div(units, per_task), bytes / kBytesPerNs, [&](int64_t task, int) {
    int64_t offset[kPartialElements + kMostAhead];
    int64_t cached = -1;
    const int64_t end = min_of(units, (task + 1) * per_task);
    for (int64_t unit = task * per_task; unit < end; ++unit) {
      const int64_t tile = unit % tiles, block = unit / tiles % blocks,
                    output = unit / tiles / blocks * columns;
      const int64_t first = block * kPartialElements;
      const int rows = static_cast<int>(min_of(kPartialElements, R - first));
      if (block != cached) {
        Walker<1> at(p.reduced, 0, first);
        for (int r = 0; r < rows; ++r, at.advance(1)) offset[r] = at.offset;
        for (int r = rows; r < rows + kMostAhead; ++r) offset[r] = rows > 0 ? offset[rows - 1] : 0;
        cached = block;
      }
      const Walker<2> kept(p.kept, 1, output + tile * tile_width);
      f(static_cast<const T*>(p.x) + kept.offset, offset, rows,
        static_cast<int>(min_of(tile_width, columns - tile * tile_width)), block, output + tile * tile_width);
    }
  });
}

}  // namespace fastnn::FASTNN_ISA
