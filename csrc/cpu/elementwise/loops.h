// Elementwise kernels over a Loop<N>: map<F, T, Out>(ctx, p) applies a formula F, written on vectors, to
// every element.
//
// Every element goes through the same vector code whatever its layout, alignment or place: a formula only
// ever sees dense runs. A nest that is dense in all operands is one such run. Any other is cut into tiles of
// about a thousand elements; an operand that is not dense within a tile (broadcast, strided, transposed, or
// with rows too short for vectors) is gathered into a buffer in the first-level cache first, and the result
// scattered from one last. So short rows are joined until vectors are full, and a transposed operand is read
// in whole cache lines.
//
// A formula takes and returns Vec<T>; a bool operand of a kernel over another T appears as Mask<T>.
#pragma once
#include "cpu/elementwise/move.h"
#include "cpu/elementwise/tiles.h"
#include "cpu/simd/bytes.h"

namespace fastnn::FASTNN_ISA {

// ---- dense runs

// How an operand of element type E is seen by a kernel over T.
template <class T, class E>
struct Operand {
  static_assert(sizeof(T) == sizeof(E));
  static FASTNN_INLINE Vec<T> load(const E* p) { return Vec<T>::load(p); }
  static FASTNN_INLINE Vec<T> load_n(const E* p, int n) { return Vec<T>::load_n(p, n); }
  static FASTNN_INLINE void store(E* p, Vec<T> v) { v.store(p); }
  static FASTNN_INLINE void store_n(E* p, Vec<T> v, int n) { v.store_n(p, n); }
};
template <class T>
struct Operand<T, bool> {
  using Byte = typename Bytes<sizeof(T)>::type;
  using Wide = typename Vec<Int<T>>::Native;
  static FASTNN_INLINE Mask<T> widen(Byte b) { return Mask<T>(widen_bytes(b, Wide{}) != Wide{}); }
  static FASTNN_INLINE Mask<T> load(const bool* p) {
    Byte b;
    memcpy(&b, p, sizeof b);
    return widen(b);
  }
  static FASTNN_INLINE Mask<T> load_n(const bool* p, int n) {
    Byte b{};
    memcpy(&b, p, static_cast<size_t>(n));
    return widen(b);
  }
  static FASTNN_INLINE void store(bool* p, Mask<T> m) {
    const Byte b = narrow_mask(m.v);
    memcpy(p, &b, sizeof b);
  }
  static FASTNN_INLINE void store_n(bool* p, Mask<T> m, int n) {
    const Byte b = narrow_mask(m.v);
    memcpy(p, &b, static_cast<size_t>(n));
  }
};

// A formula on n elements; operand[0] is the output.
using Run = void (*)(char* const* operand, int64_t n, const double* parameters);

// F is a formula: `using Parameters`, of doubles; `static constexpr int inputs`; `Input<k, T>`, the element
// type of input k of a kernel over T; and call(parameters, x...), on vectors.
template <class F, class T, class Out, int... k>
void run_inputs(char* const* operand, int64_t n, const double* parameters, Lanes<k...>) {
  constexpr int W = Vec<T>::N;
  typename F::Parameters p;
  if constexpr (!__is_empty(typename F::Parameters)) memcpy(static_cast<void*>(&p), parameters, sizeof p);
  Out* const y = reinterpret_cast<Out*>(operand[0]);
  const char* const x[] = {operand[1 + k]...};
  auto at = [&](int64_t i) __attribute__((always_inline)) {
    return F::call(p, Operand<T, typename F::template Input<k, T>>::load(
                          reinterpret_cast<const typename F::template Input<k, T>*>(x[k]) + i)...);
  };
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    const auto y0 = at(i), y1 = at(i + W);
    Operand<T, Out>::store(y + i, y0);
    Operand<T, Out>::store(y + i + W, y1);
  }
  for (; i < n; i += W) {
    const int rest = n - i < W ? static_cast<int>(n - i) : W;
    Operand<T, Out>::store_n(
        y + i,
        F::call(p, Operand<T, typename F::template Input<k, T>>::load_n(
                       reinterpret_cast<const typename F::template Input<k, T>*>(x[k]) + i, rest)...),
        rest);
  }
}
template <class F, class T, class Out>
void run(char* const* operand, int64_t n, const double* parameters) {
  run_inputs<F, T, Out>(operand, n, parameters, typename LanesUpTo<F::inputs>::type{});
}

// ---- tiles

// How the operands of a tile reach the vector code: where they lie, or through a buffer.
template <int N>
struct TilePlan {
  bool buffered[N];
  Box box[N];

  void make(const TileWalk<N>& walk) {
    const int ndim = walk.loop.ndim;
    int64_t packed[kMaxDims];
    dense_strides(ndim, walk.extent, packed);
    for (int k = 0; k < N; ++k) {
      const int64_t* stride = walk.loop.stride[k];
      buffered[k] = !is_dense(ndim, walk.extent, stride);
      if (buffered[k])
        box[k] = make_box(ndim, walk.extent, k == 0 ? stride : packed, k == 0 ? packed : stride);
    }
  }
};

template <int N>
void run_tiles(TileWalk<N>& walk, int64_t tiles, int across, Run run, const double* parameters) {
  alignas(64) char buffer[N][kTileBytes];
  const char* held[N];  // whose elements a buffer holds: a broadcast operand is gathered once for many tiles
  char* operand[N];
  TileWalk<N> ahead = walk;
  TilePlan<N> plan;
  const bool prefetch = across >= 0 && walk.count < walk.loop.numel;
  for (;; walk.next()) {
    if (walk.reshaped) {
      plan.make(walk);
      for (int k = 0; k < N; ++k) held[k] = nullptr;
    }
    if (prefetch) {
      ahead.next();
      for (int k = 0; k < N; ++k) prefetch_tile(ahead, k, across);
    }
    for (int k = 0; k < N; ++k) {
      operand[k] = plan.buffered[k] ? buffer[k] : walk.at[k];
      if (k == 0 || !plan.buffered[k] || held[k] == walk.at[k]) continue;
      move_box(buffer[k], walk.at[k], walk.size[k], plan.box[k], Move::gather);
      held[k] = walk.at[k];
    }
    run(operand, walk.count, parameters);
    if (plan.buffered[0]) move_box(walk.at[0], buffer[0], walk.size[0], plan.box[0], Move::scatter);
    if (--tiles == 0) return;
  }
}

// An operand that repeats one element everywhere is read from a buffer of copies that stays in the
// first-level cache, as is each tile of a nest that is not dense.
template <int N>
Status run_dense(Context& ctx, int64_t numel, char* const (&base)[N], const int (&size)[N], unsigned repeated,
                 double work, Run run, const double* parameters) {
  const int64_t blocks = (numel + kTaskElements - 1) / kTaskElements;
  return parallel_for(ctx, blocks, work, [&](int64_t block, int) {
    const int64_t first = block * kTaskElements, last = block + 1 < blocks ? first + kTaskElements : numel;
    char* operand[N];
    if (repeated == 0) {
      for (int k = 0; k < N; ++k) operand[k] = base[k] + first * size[k];
      return run(operand, last - first, parameters);
    }
    alignas(64) char buffer[N - 1][kTileBytes];
    int64_t step = last - first;
    for (int k = 1; k < N; ++k) step = kTileBytes / size[k] < step ? kTileBytes / size[k] : step;
    for (int k = 1; k < N; ++k)
      if (repeated >> k & 1) splat(buffer[k - 1], base[k], step, size[k]);
    for (int64_t i = first; i < last; i += step) {
      for (int k = 0; k < N; ++k) operand[k] = repeated >> k & 1 ? buffer[k - 1] : base[k] + i * size[k];
      run(operand, last - i < step ? last - i : step, parameters);
    }
  });
}

// `nanoseconds` is the estimated work per element on one core.
template <int N>
Status walk(Context& ctx, const Loop<N>& loop, char* const (&base)[N], const int (&size)[N],
            double nanoseconds, Run run, const double* parameters = nullptr) {
  if (loop.numel == 0) return Status::ok;
  unsigned repeated = 0;
  bool dense = true;
  int64_t largest = 1;
  for (int k = 0; k < N; ++k) {
    if (k > 0 && repeats(loop.ndim, loop.stride[k]) && loop.numel > 1)
      repeated |= 1u << k;
    else
      dense &= is_dense(loop.ndim, loop.shape, loop.stride[k]);
    if (size[k] > largest) largest = size[k];
  }
  const double work = nanoseconds * static_cast<double>(loop.numel);
  if (dense)
    return run_dense<N>(ctx, loop.numel, base, size, repeated, repeated ? 1.5 * work : work, run, parameters);
  int64_t tile[kMaxDims];
  const int across = choose_tile(loop.ndim, loop.shape, loop.stride, N, kTileBytes / largest, tile);
  return for_tiles(ctx, loop, base, size, tile, 1.5 * work, [&](TileWalk<N>& tiles, int64_t count) {
    run_tiles(tiles, count, across, run, parameters);
  });
}

// ---- kernels

// Work per element of one vector operation's worth, in nanoseconds: moving the bytes is what most kernels do.
template <class T>
constexpr double kCheap = 0.06 * sizeof(T);

template <int N>
Status walk_operands(Context& ctx, const ElementwiseParams& p, double nanoseconds, Run run) {
  char* base[N];
  int size[N];
  unsigned repeated = 0;
  bool flat = p.loop.ndim == 1 && p.loop.numel > 1;
  for (int k = 0; k < N; ++k) {
    const bool number = p.numbers >> k & 1;
    base[k] = number ? const_cast<char*>(reinterpret_cast<const char*>(&p.operand[k].bits))
                     : static_cast<char*>(p.operand[k].pointer);
    size[k] = p.size[k];
    if (p.loop.stride[k][0] == 0 && k > 0)
      repeated |= 1u << k;
    else
      flat &= p.loop.stride[k][0] == 1;
  }
  if (flat) {
    const double work = (repeated ? 1.5 : 1) * nanoseconds * static_cast<double>(p.loop.numel);
    return run_dense<N>(ctx, p.loop.numel, base, size, repeated, work, run, p.parameters);
  }
  Loop<N> loop;
  loop.ndim = p.loop.ndim, loop.numel = p.loop.numel;
  for (int d = 0; d < loop.ndim; ++d) {
    loop.shape[d] = p.loop.shape[d];
    for (int k = 0; k < N; ++k) loop.stride[k][d] = p.loop.stride[k][d];
  }
  return walk<N>(ctx, loop, base, size, nanoseconds, run, p.parameters);
}

// The kernel of a formula over elements T that writes Out.
template <class F, class T, class Out>
Status map(Context& ctx, const ElementwiseParams& p) {
  const double arithmetic = p.cost / Vec<T>::N;
  return walk_operands<1 + F::inputs>(ctx, p, arithmetic > kCheap<T> ? arithmetic : kCheap<T>,
                                      run<F, T, Out>);
}

}  // namespace fastnn::FASTNN_ISA
