// Elementwise kernels over a Loop<N>: map<T>(ctx, p, f) applies f, written on vectors, to every element.
//
// Every element goes through the same vector code whatever its layout, alignment or place: f only ever sees
// dense runs. A nest that is dense in all operands is one such run. Any other is cut into tiles of about a
// thousand elements; an operand that is not dense within a tile (broadcast, strided, transposed, or with rows
// too short for vectors) is gathered into a buffer in the first-level cache first, and the result scattered
// from one last. So short rows are joined until vectors are full, and a transposed operand is read in whole
// cache lines.
//
// f takes and returns Vec<T>; a bool operand of a kernel over another T appears as Mask<T>. f is a lambda
// without captures.
#pragma once
#include "cpu/elementwise/move.h"
#include "cpu/elementwise/tiles.h"
#include "cpu/simd/bytes.h"

namespace fastnn::FASTNN_ISA {

// ---- dense runs ----

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

// n elements; operand[0] is the output.
using Run = void (*)(char* const* operand, int64_t n);

template <class T, class F, class Out, class A>
void run1(char* const* operand, int64_t n) {
  constexpr int W = Vec<T>::N;
  Out* y = reinterpret_cast<Out*>(operand[0]);
  const A* a = reinterpret_cast<const A*>(operand[1]);
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    const auto y0 = F()(Operand<T, A>::load(a + i)), y1 = F()(Operand<T, A>::load(a + i + W));
    Operand<T, Out>::store(y + i, y0);
    Operand<T, Out>::store(y + i + W, y1);
  }
  for (; i < n; i += W) {
    const int rest = n - i < W ? static_cast<int>(n - i) : W;
    Operand<T, Out>::store_n(y + i, F()(Operand<T, A>::load_n(a + i, rest)), rest);
  }
}
template <class T, class F, class Out, class A, class B>
void run2(char* const* operand, int64_t n) {
  constexpr int W = Vec<T>::N;
  Out* y = reinterpret_cast<Out*>(operand[0]);
  const A* a = reinterpret_cast<const A*>(operand[1]);
  const B* b = reinterpret_cast<const B*>(operand[2]);
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    const auto y0 = F()(Operand<T, A>::load(a + i), Operand<T, B>::load(b + i));
    const auto y1 = F()(Operand<T, A>::load(a + i + W), Operand<T, B>::load(b + i + W));
    Operand<T, Out>::store(y + i, y0);
    Operand<T, Out>::store(y + i + W, y1);
  }
  for (; i < n; i += W) {
    const int rest = n - i < W ? static_cast<int>(n - i) : W;
    Operand<T, Out>::store_n(
        y + i, F()(Operand<T, A>::load_n(a + i, rest), Operand<T, B>::load_n(b + i, rest)), rest);
  }
}
template <class T, class F, class Out, class A, class B, class C>
void run3(char* const* operand, int64_t n) {
  constexpr int W = Vec<T>::N;
  Out* y = reinterpret_cast<Out*>(operand[0]);
  const A* a = reinterpret_cast<const A*>(operand[1]);
  const B* b = reinterpret_cast<const B*>(operand[2]);
  const C* c = reinterpret_cast<const C*>(operand[3]);
  int64_t i = 0;
  for (; i + W <= n; i += W)
    Operand<T, Out>::store(
        y + i, F()(Operand<T, A>::load(a + i), Operand<T, B>::load(b + i), Operand<T, C>::load(c + i)));
  if (const int rest = static_cast<int>(n - i); rest > 0)
    Operand<T, Out>::store_n(y + i,
                             F()(Operand<T, A>::load_n(a + i, rest), Operand<T, B>::load_n(b + i, rest),
                                 Operand<T, C>::load_n(c + i, rest)),
                             rest);
}

// ---- tiles ----

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
void run_tiles(TileWalk<N>& walk, int64_t tiles, int across, Run run) {
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
    run(operand, walk.count);
    if (plan.buffered[0]) move_box(walk.at[0], buffer[0], walk.size[0], plan.box[0], Move::scatter);
    if (--tiles == 0) return;
  }
}

// `nanoseconds` is the estimated work per element on one core.
template <int N>
Status walk(Context& ctx, const Loop<N>& loop, char* const (&base)[N], const int (&size)[N],
            double nanoseconds, Run run) {
  if (loop.numel == 0) return Status::ok;
  bool dense = true;
  int64_t largest = 1;
  for (int k = 0; k < N; ++k) {
    dense &= is_dense(loop.ndim, loop.shape, loop.stride[k]);
    if (size[k] > largest) largest = size[k];
  }
  const double work = nanoseconds * static_cast<double>(loop.numel);
  if (dense) {
    const int64_t blocks = ceil_div(loop.numel, kTaskElements);
    return parallel_for(ctx, blocks, work, [&](int64_t block, int) {
      char* operand[N];
      for (int k = 0; k < N; ++k) operand[k] = base[k] + block * kTaskElements * size[k];
      run(operand, min_of(kTaskElements, loop.numel - block * kTaskElements));
    });
  }
  int64_t tile[kMaxDims];
  const int across = choose_tile(loop.ndim, loop.shape, loop.stride, N, kTileBytes / largest, tile);
  return for_tiles(ctx, loop, base, size, tile, 1.5 * work,
                   [&](TileWalk<N>& tiles, int64_t count) { run_tiles(tiles, count, across, run); });
}

// ---- map ----

// Work per element of one vector operation's worth, in nanoseconds: moving the bytes is what most kernels do.
template <class T>
constexpr double kCheap = 0.06 * sizeof(T);
// A transcendental function: a few dozen operations on each vector.
template <class T>
constexpr double kCostly = 10.0 / Vec<T>::N;

template <class T, class Out = T, class F>
Status map(Context& ctx, const UnaryParams& p, F, double nanoseconds = kCheap<T>) {
  return walk<2>(ctx, p.loop, {static_cast<char*>(p.y), const_cast<char*>(static_cast<const char*>(p.x))},
                 {sizeof(Out), sizeof(T)}, nanoseconds, run1<T, F, Out, T>);
}
template <class T, class F>
Status map(Context& ctx, const UnaryGradParams& p, F, double nanoseconds = kCheap<T>) {
  return walk<3>(ctx, p.loop,
                 {static_cast<char*>(p.dx), const_cast<char*>(static_cast<const char*>(p.dy)),
                  const_cast<char*>(static_cast<const char*>(p.saved))},
                 {sizeof(T), sizeof(T), sizeof(T)}, nanoseconds, run2<T, F, T, T, T>);
}
template <class T, class Out = T, class F>
Status map(Context& ctx, const BinaryParams& p, F, double nanoseconds = kCheap<T>) {
  return walk<3>(ctx, p.loop,
                 {static_cast<char*>(p.out), const_cast<char*>(static_cast<const char*>(p.a)),
                  const_cast<char*>(static_cast<const char*>(p.b))},
                 {sizeof(Out), sizeof(T), sizeof(T)}, nanoseconds, run2<T, F, Out, T, T>);
}
template <class T, class F>
Status map(Context& ctx, const WhereParams& p, F, double nanoseconds = kCheap<T>) {
  return walk<4>(
      ctx, p.loop,
      {static_cast<char*>(p.out), reinterpret_cast<char*>(const_cast<bool*>(p.condition)),
       const_cast<char*>(static_cast<const char*>(p.a)), const_cast<char*>(static_cast<const char*>(p.b))},
      {sizeof(T), 1, sizeof(T), sizeof(T)}, nanoseconds, run3<T, F, T, bool, T, T>);
}

}  // namespace fastnn::FASTNN_ISA
