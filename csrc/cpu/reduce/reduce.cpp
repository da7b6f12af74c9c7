// Reductions: y[kept] = op over `reduced` of x. See walk.h for how memory is walked; here is what is
// computed.
//
// Float sums follow the tree of sum.h. Maxima and minima keep the first NaN, else the first of the best, as
// NumPy and PyTorch do.
#include "backend/reduce.h"
#include "cpu/reduce/best.h"
#include "cpu/reduce/walk.h"
#include "cpu/simd/sum.h"

namespace fastnn::FASTNN_ISA {
namespace {

// ---- sums -------------------------------------------------------------------------------------------------
template <class T>
FASTNN_INLINE T scaled(T sum, double scale) {
  return static_cast<T>(static_cast<double>(sum) * scale);
}

// The same tree for `width` outputs at once, lane after lane. A lane's rows are summed in registers, and
// lanes follow each other as the tree combines them, so that level[i] need only keep the sum of the last 2^i.
// Fewer rows than lanes make the tree of as many lanes as the next power of two: lanes that no row falls into
// hold zero, and adding it changes nothing (no lane holds -0, as each begins with 0 + x).
template <class T>
struct SumTile {
  using V = Vec<T>;
  static constexpr int kLevels = 8;
  static constexpr int kRun =
      kRegisters / 2;  // vectors of a row that are read on end: the longer, the faster
  static_assert(kLanes<T> <= 1 << (kLevels - 1) && kLanes<T> <= kMostAhead);
  const T* x;
  const int64_t* offset;
  int rows, width;
  int lanes, lane, next, turn;  // the lane of this turn and of the one after it
  alignas(64) T level[kLevels][kWideTile];

  // Columns [j, j + count vectors), the last of them `tail` wide.
  template <int count, bool whole>
  FASTNN_INLINE void add_lane(int j, int tail) {
    V a[count];
    for (V& v : a) v = V(T(0));
    const int64_t ahead = next - lane;
    for (int r = lane; r < rows; r += lanes) {
      const T *row = x + offset[r] + j, *later = x + offset[r + ahead] + j;
#pragma GCC unroll 16
      for (int i = 0; i < count; ++i) {
        __builtin_prefetch(later + i * V::N, 0, 2);  // into L2: rows a power of two apart share sets of L1
        a[i] = a[i] + (whole ? V::load(row + i * V::N) : V::load_n(row + i * V::N, tail));
      }
    }
    int at = 0;
    for (; turn >> at & 1; ++at)
      for (int i = 0; i < count; ++i) a[i] = V::load(level[at] + j + i * V::N) + a[i];
    for (int i = 0; i < count; ++i) a[i].store(level[at] + j + i * V::N);
  }

  const T* run() {
    int levels = 0;
    while (lanes = 1 << levels, lanes < rows && lanes < kLanes<T>) ++levels;
    lane = 0;
    for (turn = 0; turn < lanes; ++turn, lane = next) {
      next = lane;  // counts with its highest bit first
      for (int bit = lanes / 2; bit > 0 && ((next ^= bit) & bit) == 0;) bit /= 2;
      int j = 0;
      for (; j + kRun * V::N <= width; j += kRun * V::N) add_lane<kRun, true>(j, V::N);
      for (; j + 4 * V::N <= width; j += 4 * V::N) add_lane<4, true>(j, V::N);
      if (j + 2 * V::N <= width) add_lane<2, true>(j, V::N), j += 2 * V::N;
      for (; j < width; j += V::N) {
        const int tail = static_cast<int>(min_of(V::N, width - j));
        tail == V::N ? add_lane<1, true>(j, tail) : add_lane<1, false>(j, tail);
      }
    }
    return level[levels];
  }
};

// y = scale * the pairwise sum of `blocks` rows of `outputs` partials each, which are used up.
template <class T, class Y>
Status sum_blocks(Context& ctx, T* partial, int64_t blocks, int64_t outputs, double scale, Y* y) {
  constexpr int64_t kColumns = 4096;
  const double bytes = static_cast<double>(blocks * outputs) * sizeof(T);
  return parallel_for(ctx, ceil_div(outputs, kColumns), bytes / kBytesPerNs, [&](int64_t task, int) {
    const int64_t begin = task * kColumns, end = min_of(outputs, begin + kColumns);
    for (int64_t step = 1; step < blocks; step *= 2)
      for (int64_t b = 0; b + step < blocks; b += 2 * step) {
        T* to = partial + b * outputs;
        const T* from = to + step * outputs;
        for (int64_t i = begin; i < end; ++i) to[i] += from[i];
      }
    for (int64_t i = begin; i < end; ++i)
      if constexpr (std::is_floating_point_v<T>)
        y[i] = scaled(partial[i], scale);
      else
        y[i] = static_cast<Y>(partial[i]);
  });
}

template <class T>
Status sum_floats(Context& ctx, const ReduceParams& p) {
  const int64_t blocks = blocks_of(p), outputs = p.kept.numel;
  T* y = static_cast<T*>(p.y);
  T* partial = y;
  if (blocks > 1) {
    partial = workspace<T>(ctx, static_cast<size_t>(blocks * outputs));
    if (!partial) return Status::need_workspace;
  }
  const double scale = blocks > 1 ? 1 : p.scale;
  Status status;
  if (walks_tiles(p))
    status = for_tiles<T>(ctx, p, many_columns(p) ? kWideTile : kTile,
                          [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
                            SumTile<T> tile;
                            tile.x = x, tile.offset = offset, tile.rows = rows, tile.width = width;
                            const T* sum = tile.run();
                            T* out = partial + b * outputs + i;
                            for (int j = 0; j < width; ++j) out[j] = scaled(sum[j], scale);
                          });
  else
    status = for_chunks<T, T>(ctx, p, [&](const T* x, int n, int64_t b, int64_t i) {
      partial[b * outputs + i] = scaled(sum_chunk(x, n), scale);
    });
  return status == Status::ok && blocks > 1 ? sum_blocks(ctx, partial, blocks, outputs, p.scale, y) : status;
}

// Integers and bools are summed in int64, modulo 2^64, in any order: these loops are the compiler's to
// vectorise.
template <class T>
Status sum_integers(Context& ctx, const ReduceParams& p) {
  const int64_t blocks = blocks_of(p), outputs = p.kept.numel;
  int64_t* y = static_cast<int64_t*>(p.y);
  int64_t* partial = y;
  if (blocks > 1) {
    partial = workspace<int64_t>(ctx, static_cast<size_t>(blocks * outputs));
    if (!partial) return Status::need_workspace;
  }
  Status status;
  if (walks_tiles(p))
    status = for_tiles<T>(
        ctx, p, kTile, [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
          uint64_t a[kTile] = {};
          for (int r = 0; r < rows; ++r)
            for (int j = 0; j < width; ++j)
              a[j] += static_cast<uint64_t>(static_cast<int64_t>(x[offset[r] + j]));
          memcpy(partial + b * outputs + i, a, static_cast<size_t>(width) * sizeof(int64_t));
        });
  else
    status = for_chunks<T, T>(ctx, p, [&](const T* x, int n, int64_t b, int64_t i) {
      uint64_t a = 0;
      if constexpr (sizeof(T) == 1) {  // kPartialElements bytes cannot overflow 32 bits
        uint32_t small = 0;
        for (int j = 0; j < n; ++j) small += static_cast<uint8_t>(x[j]);
        a = small;
      } else {
        for (int j = 0; j < n; ++j) a += static_cast<uint64_t>(static_cast<int64_t>(x[j]));
      }
      partial[b * outputs + i] = static_cast<int64_t>(a);
    });
  if (status != Status::ok || blocks == 1) return status;
  return sum_blocks(ctx, reinterpret_cast<uint64_t*>(partial), blocks, outputs, 1, y);
}

// ---- maxima and minima ------------------------------------------------------------------------------------
template <class Op, class T>
Status best(Op op, Context& ctx, const ReduceParams& p, T* y, int64_t* index) {
  using C = typename wide<T>::type;
  const int64_t blocks = blocks_of(p), outputs = p.kept.numel, partials = blocks * outputs;
  C* value = nullptr;  // of each block, where there are several
  int64_t* place = nullptr;
  if (blocks > 1) {  // values are given 8 bytes each, so that the positions behind them are aligned
    place = workspace<int64_t>(ctx, static_cast<size_t>(2 * partials));
    if (!place) return Status::need_workspace;
    value = reinterpret_cast<C*>(place + partials);
  }
  auto keep = [&](int64_t b, int64_t i, C best, int64_t position) {
    if (blocks > 1) {
      value[b * outputs + i] = best;
      place[b * outputs + i] = position;
    } else {
      if (y) y[i] = static_cast<T>(best);
      if (index) index[i] = position;
    }
  };

  Status status;
  if (walks_tiles(p))
    status = for_tiles<T>(ctx, p, kTile,
                          [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
                            C bests[kTile];
                            int64_t positions[kTile] = {};
                            index ? best_of_tile<true>(op, x, offset, rows, width, bests, positions)
                                  : best_of_tile<false>(op, x, offset, rows, width, bests, positions);
                            for (int j = 0; j < width; ++j) keep(b, i + j, bests[j], positions[j]);
                          });
  else
    status = for_chunks<C, T>(ctx, p, [&](const C* x, int n, int64_t b, int64_t i) {
      int64_t position = 0;
      const C best =
          index ? best_of_chunk<true>(op, x, n, &position) : best_of_chunk<false>(op, x, n, &position);
      keep(b, i, best, position);
    });
  if (status != Status::ok || blocks == 1) return status;

  constexpr int64_t kColumns = 4096;
  return parallel_for(ctx, ceil_div(outputs, kColumns), static_cast<double>(partials),
                      [&](int64_t task, int) {
                        for (int64_t i = task * kColumns; i < min_of(outputs, (task + 1) * kColumns); ++i) {
                          int64_t winner = 0;
                          C best = value[i];
                          for (int64_t b = 1; b < blocks; ++b)
                            if (replaces(op, op.turned(value[b * outputs + i]), op.turned(best)))
                              winner = b, best = value[b * outputs + i];
                          if (y) y[i] = static_cast<T>(best);
                          if (index) index[i] = winner * kPartialElements + place[winner * outputs + i];
                        }
                      });
}

}  // namespace

// Bools are bytes, 0 or 1.
template <class T>
using Number = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

template <class T>
Status sum(Context& ctx, const ReduceParams& p) {
  if constexpr (std::is_floating_point_v<T>)
    return sum_floats<T>(ctx, p);
  else
    return sum_integers<Number<T>>(ctx, p);
}
template <bool largest, class T>
Status best(Context& ctx, const ReduceParams& p, void* y) {
  using N = Number<T>;
  return best(best_op<typename wide<N>::type, largest>(), ctx, p, static_cast<N*>(y), p.index);
}
template <class T>
Status max(Context& ctx, const ReduceParams& p) {
  return best<true, T>(ctx, p, p.y);
}
template <class T>
Status min(Context& ctx, const ReduceParams& p) {
  return best<false, T>(ctx, p, p.y);
}
template <class T>
Status argmax(Context& ctx, const ReduceParams& p) {
  return best<true, T>(ctx, p, nullptr);
}
template <class T>
Status argmin(Context& ctx, const ReduceParams& p) {
  return best<false, T>(ctx, p, nullptr);
}

FASTNN_EXPORT(ReduceTable, reduce, FASTNN_REDUCE)

}  // namespace fastnn::FASTNN_ISA
