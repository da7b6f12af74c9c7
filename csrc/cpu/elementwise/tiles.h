// Cuts a Loop<N> into tiles and walks them: what elementwise kernels and copies do where a nest is not dense.
#pragma once
#include "backend/context.h"
#include "backend/elementwise.h"
#include "backend/integers.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kTileBytes = 8192;      // of one operand's tile that passes through a buffer
constexpr int64_t kTaskElements = 32768;  // elements of a task, about

// Chooses the extents of a tile of up to `room` elements: whole inner dimensions as far as there is room,
// then a part of the next one. Where some operand is contiguous along another dimension than the innermost,
// the tile is about square in the two; that dimension is returned, else -1.
inline int choose_tile(int ndim, const int64_t* shape, const int64_t (*stride)[kMaxDims], int operands,
                       int64_t room, int64_t* tile) {
  constexpr int64_t kLongRow = 512;
  const int last = ndim - 1;
  int across = -1;
  bool all_unit = true;
  for (int d = 0; d < ndim; ++d) tile[d] = 1;
  for (int k = 0; k < operands; ++k) {
    const int64_t s = stride[k][last];
    all_unit &= s == 1;
    if (s == 0 || s == 1) continue;
    for (int d = 0; d < last; ++d)
      if (stride[k][d] == 1 && shape[d] > 1) across = d;
  }
  if (all_unit && shape[last] >= kLongRow) {  // nothing to gather
    tile[last] = min_of(shape[last], kTaskElements);
    return -1;
  }
  if (across >= 0) {
    int64_t side = 16;
    while (side * side < room) side *= 2;
    tile[across] = min_of(shape[across], side);
    room /= tile[across];
  }
  for (int d = last; d >= 0; --d) {
    if (d != across) tile[d] = min_of(shape[d], room);
    if (d != across) room /= tile[d];
    if (tile[d] < shape[d]) break;
  }
  if (across >= 0 && room > 1) tile[across] = min_of(shape[across], tile[across] * room);
  return across;
}

// Walks the tiles [first, last) of a nest, in row-major order.
template <int N>
struct TileWalk {
  const Loop<N>& loop;
  const int64_t* tile;
  const int* size;
  char* at[N];               // the current tile's first element in each operand
  int64_t extent[kMaxDims];  // of the current tile
  int64_t count;             // its elements
  bool reshaped = true;      // extents differ from the tile before
  int64_t origin[kMaxDims];

  TileWalk(const Loop<N>& nest, char* const* base, const int* sizes, const int64_t* tiles, int64_t first)
      : loop(nest), tile(tiles), size(sizes) {
    for (int d = loop.ndim - 1; d >= 0; --d) {
      const int64_t tiles_here = ceil_div(loop.shape[d], tile[d]);
      origin[d] = first % tiles_here * tile[d];
      first /= tiles_here;
      extent[d] = clip(d);
    }
    for (int k = 0; k < N; ++k) {
      at[k] = base[k];
      for (int d = 0; d < loop.ndim; ++d) at[k] += origin[d] * loop.stride[k][d] * size[k];
    }
    set_count();
  }
  void next() {
    reshaped = false;
    for (int d = loop.ndim - 1; d >= 0; --d) {
      int64_t step = tile[d];
      const bool wraps = origin[d] + step >= loop.shape[d];
      if (wraps) step = -origin[d];
      origin[d] += step;
      for (int k = 0; k < N; ++k) at[k] += step * loop.stride[k][d] * size[k];
      if (const int64_t e = clip(d); e != extent[d]) extent[d] = e, reshaped = true;
      if (!wraps) break;
    }
    if (reshaped) set_count();
  }

 private:
  int64_t clip(int d) const {
    const int64_t rest = loop.shape[d] - origin[d];
    return min_of(rest, tile[d]);
  }
  void set_count() {
    count = 1;
    for (int d = 0; d < loop.ndim; ++d) count *= extent[d];
  }
};

// Runs f(walk, tiles) for each task: a stretch of consecutive tiles.
template <int N, class F>
Status for_tiles(Context& ctx, const Loop<N>& loop, char* const* base, const int* size, const int64_t* tile,
                 double nanoseconds, F&& f) {
  int64_t tiles = 1, elements = 1;
  for (int d = 0; d < loop.ndim; ++d) {
    tiles *= ceil_div(loop.shape[d], tile[d]);
    elements *= tile[d];
  }
  const int64_t per_task = elements >= kTaskElements ? 1 : kTaskElements / elements;
  return parallel_for(ctx, ceil_div(tiles, per_task), nanoseconds, [&](int64_t task, int) {
    const int64_t first = task * per_task;
    TileWalk<N> walk(loop, base, size, tile, first);
    f(walk, tiles - first < per_task ? tiles - first : per_task);
  });
}

// Row-major strides of a dense box, and whether an operand's strides are these.
inline void dense_strides(int ndim, const int64_t* extent, int64_t* stride) {
  int64_t s = 1;
  for (int d = ndim - 1; d >= 0; --d) stride[d] = s, s *= extent[d];
}
inline bool is_dense(int ndim, const int64_t* extent, const int64_t* stride) {
  int64_t s = 1;
  for (int d = ndim - 1; d >= 0; --d) {
    if (extent[d] > 1 && stride[d] != s) return false;
    s *= extent[d];
  }
  return true;
}

// Whether an operand is one element, wherever the nest stands.
inline bool repeats(int ndim, const int64_t* stride) {
  for (int d = 0; d < ndim; ++d)
    if (stride[d] != 0) return false;
  return true;
}

// The processor does not foresee the many short streams of a tile with a transposed operand: ask for its
// lines early.
template <int N>
void prefetch_tile(const TileWalk<N>& walk, int k, int across) {
  const int last = walk.loop.ndim - 1;
  const int64_t* stride = walk.loop.stride[k];
  const int along = stride[across] == 1 ? across : last, other = along == last ? across : last;
  if (stride[along] != 1) return;
  const int64_t step = stride[other] * walk.size[k], bytes = walk.extent[along] * walk.size[k];
  const int64_t rows = step == 0 ? 1 : walk.extent[other];
  for (int64_t row = 0; row < rows; ++row) {
    const char* const first = walk.at[k] + row * step;
    for (const char* line = first - reinterpret_cast<uintptr_t>(first) % 64; line < first + bytes; line += 64)
      k == 0 ? __builtin_prefetch(line, 1) : __builtin_prefetch(line);
  }
}

}  // namespace fastnn::FASTNN_ISA
