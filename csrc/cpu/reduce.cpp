// Reductions: y[kept] = op over `reduced` of x. See reduce_walk.h for how memory is walked; here is what is
// computed.
//
// Float sums follow one tree. Within a block of kBlock elements, element r is added to lane r mod L, L = 4
// vectors: four accumulators hide the latency of the adder, and the error grows with kBlock / L. Lanes are
// combined i with i + L/2, i + L/4 ..., blocks pairwise. Maxima and minima keep the first NaN, else the first
// of the best, as NumPy and PyTorch do.
#include "../backend/kernel_table.h"
#include "reduce_walk.h"

namespace fastnn::FASTNN_ISA {
namespace {

template <class T>
constexpr bool is_float = same_type<T, float> || same_type<T, double>;
template <class T>
constexpr int kLanes = 4 * Vec<T>::N;

// ---- sums -------------------------------------------------------------------------------------------------
template <class T>
FASTNN_INLINE T scaled(T sum, double scale) {
  return static_cast<T>(static_cast<double>(sum) * scale);
}

template <class T>
T sum_chunk(const T* x, int n) {
  using V = Vec<T>;
  V a[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
  int i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>)
    for (int j = 0; j < 4; ++j) a[j] = a[j] + V::load(x + i + j * V::N);
  for (int j = 0; j < 4 && i < n; ++j, i += V::N)
    a[j] = a[j] + V::load_n(x + i, static_cast<int>(least(V::N, n - i)));
  return reduce_add((a[0] + a[2]) + (a[1] + a[3]));
}

// The same tree for `width` outputs at once: lane l is a row of kTile accumulators in L1. Lanes that no row
// falls into hold zero, and adding it changes nothing (no lane holds -0, as each begins with 0 + x), so they
// are left out.
template <class T, bool full>
void sum_tile(const T* x, const int64_t* offset, int rows, int width, double scale, T* out) {
  using V = Vec<T>;
  alignas(64) T lane[kLanes<T>][kTile];
  const int vectors = full ? kTile / V::N : static_cast<int>(ceil_div(width, V::N));
  auto read = [&](int r, int j) {
    const T* row = x + offset[r] + j * V::N;
    return full ? V::load(row) : V::load_n(row, static_cast<int>(least(V::N, width - j * V::N)));
  };
  const int lanes = static_cast<int>(least(rows, kLanes<T>));
  for (int r = 0; r < lanes; ++r) {
    prefetch_row(x, offset, r);
    for (int j = 0; j < vectors; ++j) (V(T(0)) + read(r, j)).store(lane[r] + j * V::N);
  }
  for (int r = lanes; r < rows; ++r) {
    prefetch_row(x, offset, r);
    T* a = lane[r % kLanes<T>];
    for (int j = 0; j < vectors; ++j) (V::load(a + j * V::N) + read(r, j)).store(a + j * V::N);
  }
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int l = 0; l < half && l + half < lanes; ++l)
      for (int j = 0; j < vectors; ++j) {
        T* a = lane[l] + j * V::N;
        (V::load(a) + V::load(lane[l + half] + j * V::N)).store(a);
      }
  for (int j = 0; j < width; ++j) out[j] = scaled(lane[0][j], scale);
}

// y = scale * the pairwise sum of `blocks` rows of `outputs` partials each, which are used up.
template <class T, class Y>
Status sum_blocks(Context& ctx, T* partial, int64_t blocks, int64_t outputs, double scale, Y* y) {
  constexpr int64_t kColumns = 4096;
  const double bytes = static_cast<double>(blocks * outputs) * sizeof(T);
  return parallel_for(ctx, ceil_div(outputs, kColumns), bytes / kBytesPerNs, [&](int64_t task, int) {
    const int64_t begin = task * kColumns, end = least(outputs, begin + kColumns);
    for (int64_t step = 1; step < blocks; step *= 2)
      for (int64_t b = 0; b + step < blocks; b += 2 * step) {
        T* to = partial + b * outputs;
        const T* from = to + step * outputs;
        for (int64_t i = begin; i < end; ++i) to[i] += from[i];
      }
    for (int64_t i = begin; i < end; ++i)
      if constexpr (is_float<T>)
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
    status = for_tiles<T>(ctx, p,
                          [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
                            T* out = partial + b * outputs + i;
                            width == kTile ? sum_tile<T, true>(x, offset, rows, width, scale, out)
                                           : sum_tile<T, false>(x, offset, rows, width, scale, out);
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
        ctx, p, [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
          uint64_t a[kTile] = {};
          for (int r = 0; r < rows; ++r)
            for (int j = 0; j < width; ++j)
              a[j] += static_cast<uint64_t>(static_cast<int64_t>(x[offset[r] + j]));
          memcpy(partial + b * outputs + i, a, static_cast<size_t>(width) * sizeof(int64_t));
        });
  else
    status = for_chunks<T, T>(ctx, p, [&](const T* x, int n, int64_t b, int64_t i) {
      uint64_t a = 0;
      if constexpr (sizeof(T) == 1) {  // kBlock bytes cannot overflow 32 bits
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
// Bytes are compared as int32, the other types as they are.
template <class T>
struct wide {
  using type = T;
};
template <>
struct wide<uint8_t> {
  using type = int32_t;
};
template <>
struct wide<bool> {
  using type = int32_t;
};

template <bool largest>
struct Best {
  template <class C>
  static FASTNN_INLINE auto better(C a, C b) {
    if constexpr (largest)
      return a > b;
    else
      return a < b;
  }
  template <class C>
  static bool replaces(C x, C best) {
    return better(x, best) || (x != x && best == best);
  }
  // The better lane by lane; a NaN in either wins (the instructions return their second operand then).
  template <class C>
  static FASTNN_INLINE Vec<C> pick(Vec<C> x, Vec<C> best) {
    if constexpr (!is_float<C>)
      return select(better(x, best), x, best);
    else if constexpr (largest)
      return select(x != x, x, FASTNN_ISA::max(x, best));
    else
      return select(x != x, x, FASTNN_ISA::min(x, best));
  }
};

template <class Op, class C>
C best_of_chunk(const C* x, int n) {
  using V = Vec<C>;
  if (n < V::N) {
    C best = x[0];
    for (int i = 1; i < n; ++i) best = Op::replaces(x[i], best) ? x[i] : best;
    return best;
  }
  V a[4] = {V::load(x), V::load(x), V::load(x), V::load(x)};
  int i = 0;
  for (; i + kLanes<C> <= n; i += kLanes<C>)
    for (int j = 0; j < 4; ++j) a[j] = Op::pick(V::load(x + i + j * V::N), a[j]);
  for (; i + V::N <= n; i += V::N) a[0] = Op::pick(V::load(x + i), a[0]);
  a[0] = Op::pick(V::load(x + n - V::N), a[0]);  // seeing an element twice does no harm
  a[0] = Op::pick(Op::pick(a[1], a[0]), Op::pick(a[3], a[2]));
  C lane[V::N];
  a[0].store(lane);
  for (int half = V::N / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = Op::replaces(lane[l + half], lane[l]) ? lane[l + half] : lane[l];
  return lane[0];
}

// The first element that equals `value`, or is NaN if it is; there is one.
template <class C>
int find(const C* x, int n, C value) {
  using V = Vec<C>;
  int i = 0;
  for (; i + V::N <= n; i += V::N) {
    const V v = V::load(x + i);
    if (any(value == value ? v == V(value) : v != v)) break;
  }
  while (value == value ? x[i] != value : x[i] == x[i]) ++i;
  return i;
}

// One vector of neighbouring outputs: best value and, where wanted, its row. Rows come in order, so the first
// best stays.
template <class Op, class C, bool indexed>
struct Columns {
  using V = Vec<C>;
  V best;
  Mask<C> row;
  FASTNN_INLINE void first(V x) { best = x, row = Mask<C>(Int<C>(0)); }
  FASTNN_INLINE void next(V x, int r) {
    if constexpr (!indexed) {
      best = Op::pick(x, best);
    } else {
      auto better = Op::better(x, best);
      if constexpr (is_float<C>) better = better | ((x != x) & (best == best));
      best = select(better, x, best);
      row = select(better, Mask<C>(static_cast<Int<C>>(r)), row);
    }
  }
};

template <class Op, bool indexed, class C, class T>
void best_of_tile(const T* x, const int64_t* offset, int rows, int width, C* value, int64_t* index) {
  using V = Vec<C>;
  constexpr int kVectors = kTile / V::N;
  Columns<Op, C, indexed> column[kVectors];
  alignas(64) C row[kTile] = {};
  for (int r = 0; r < rows; ++r) {
    prefetch_row(x, offset, r);
    const C* at = row;
    if constexpr (same_type<C, T>)
      if (width == kTile) at = x + offset[r];
    if (at == row)
      for (int j = 0; j < width; ++j) row[j] = static_cast<C>(x[offset[r] + j]);
    for (int j = 0; j < kVectors; ++j) {
      const V v = V::load(at + j * V::N);
      r == 0 ? column[j].first(v) : column[j].next(v, r);
    }
  }
  alignas(64) C best[kTile];
  alignas(64) Int<C> place[kTile];
  for (int j = 0; j < kVectors; ++j) {
    column[j].best.store(best + j * V::N);
    column[j].row.store(place + j * V::N);
  }
  for (int j = 0; j < width; ++j) value[j] = best[j];
  if (indexed)
    for (int j = 0; j < width; ++j) index[j] = place[j];
}

template <class Op, class T>
Status best(Context& ctx, const ReduceParams& p, T* y, int64_t* index) {
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
    status = for_tiles<T>(ctx, p,
                          [&](const T* x, const int64_t* offset, int rows, int width, int64_t b, int64_t i) {
                            C bests[kTile];
                            int64_t positions[kTile] = {};
                            index ? best_of_tile<Op, true>(x, offset, rows, width, bests, positions)
                                  : best_of_tile<Op, false>(x, offset, rows, width, bests, positions);
                            for (int j = 0; j < width; ++j) keep(b, i + j, bests[j], positions[j]);
                          });
  else
    status = for_chunks<C, T>(ctx, p, [&](const C* x, int n, int64_t b, int64_t i) {
      const C best = best_of_chunk<Op>(x, n);
      keep(b, i, best, index ? find(x, n, best) : 0);
    });
  if (status != Status::ok || blocks == 1) return status;

  constexpr int64_t kColumns = 4096;
  return parallel_for(ctx, ceil_div(outputs, kColumns), static_cast<double>(partials),
                      [&](int64_t task, int) {
                        for (int64_t i = task * kColumns; i < least(outputs, (task + 1) * kColumns); ++i) {
                          int64_t winner = 0;
                          for (int64_t b = 1; b < blocks; ++b)
                            if (Op::replaces(value[b * outputs + i], value[winner * outputs + i])) winner = b;
                          if (y) y[i] = static_cast<T>(value[winner * outputs + i]);
                          if (index) index[i] = winner * kBlock + place[winner * outputs + i];
                        }
                      });
}

}  // namespace

template <class T>
Status sum(Context& ctx, const ReduceParams& p) {
  if constexpr (is_float<T>)
    return sum_floats<T>(ctx, p);
  else
    return sum_integers<T>(ctx, p);
}
template <class T>
Status max(Context& ctx, const ReduceParams& p) {
  return best<Best<true>, T>(ctx, p, static_cast<T*>(p.y), p.index);
}
template <class T>
Status min(Context& ctx, const ReduceParams& p) {
  return best<Best<false>, T>(ctx, p, static_cast<T*>(p.y), p.index);
}
template <class T>
Status argmax(Context& ctx, const ReduceParams& p) {
  return best<Best<true>, T>(ctx, p, nullptr, p.index);
}
template <class T>
Status argmin(Context& ctx, const ReduceParams& p) {
  return best<Best<false>, T>(ctx, p, nullptr, p.index);
}

FASTNN_EXPORT(REDUCE)

}  // namespace fastnn::FASTNN_ISA
