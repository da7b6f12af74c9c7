// Maxima and minima of a chunk or a tile (walk.h): the first NaN, else the first of the best, as NumPy
// and PyTorch have it.
//
// A chunk is read once from memory, for its value alone: `pick` passes over NaN, and one comparison of two
// vectors tells whether either holds one. The place is then looked up in the chunk, which lies in L1.
#pragma once
#include "cpu/reduce/walk.h"

namespace fastnn::FASTNN_ISA {

// Bytes are compared as int32, the other types as they are.
template <class T>
struct wide {
  using type = T;
};
template <>
struct wide<uint8_t> {
  using type = int32_t;
};

// Which of two elements is the better one. float32 is compiled for the largest and for the smallest. Of the
// other types there is one copy, which looks for the largest of x or, to find the smallest, of x turned
// round: -x or ~x.
template <bool largest>
struct Best {
  template <class C>
  FASTNN_INLINE auto better(C a, C b) const {
    if constexpr (largest)
      return a > b;
    else
      return a < b;
  }
  FASTNN_INLINE Vec<float> load(const float* p) const { return Vec<float>::load(p); }
  FASTNN_INLINE float turned(float x) const { return x; }
  // The better lane by lane, `best` where they are equal or one is NaN.
  FASTNN_INLINE Vec<float> pick(Vec<float> x, Vec<float> best) const {
    if constexpr (largest)
      return FASTNN_ISA::max(x, best);
    else
      return FASTNN_ISA::min(x, best);
  }
};
template <class C>
struct Either {
  Int<C> turn;  // the bits that differ

  explicit Either(bool largest) {
    constexpr auto sign = static_cast<Int<C>>(Unsigned<C>(1) << (8 * sizeof(C) - 1));
    turn = largest ? 0 : std::is_floating_point_v<C> ? sign : -1;
  }

  template <class V>
  FASTNN_INLINE auto better(V a, V b) const {
    return a > b;
  }
  FASTNN_INLINE Vec<C> turned(Vec<C> x) const { return bit_cast<C>(bit_cast<Int<C>>(x) ^ Vec<Int<C>>(turn)); }
  FASTNN_INLINE C turned(C x) const { return turned(Vec<C>(x))[0]; }
  FASTNN_INLINE Vec<C> load(const C* p) const { return turned(Vec<C>::load(p)); }
  FASTNN_INLINE Vec<C> pick(Vec<C> x, Vec<C> best) const {
    if constexpr (std::is_floating_point_v<C>)
      return FASTNN_ISA::max(x, best);
    else
      return select(x > best, x, best);
  }
};
template <class C, bool largest>
auto best_op() {
  if constexpr (std::is_same_v<C, float>)
    return Best<largest>{};
  else
    return Either<C>(largest);
}

// Whether x, turned as the op does it, takes the place of `best`: the first NaN stays.
template <class Op, class C>
FASTNN_INLINE bool replaces(Op op, C x, C best) {
  return op.better(x, best) || (x != x && best == best);
}

// The best of all lanes.
template <class Op, int half, class C, int... lane>
FASTNN_INLINE C best_lane(Op op, Vec<C> v, Lanes<lane...> all) {
  const Vec<C> other = shuffle(v, v, Lanes<(lane ^ half)...>{});
  const Vec<C> best = op.pick(other, v);
  if constexpr (half == 1)
    return best[0];
  else
    return best_lane<Op, half / 2>(op, best, all);
}

// The first of n elements that equals `value`, or is NaN if it is; there is one.
template <class C>
FASTNN_INLINE int find(const C* x, int n, C value) {
  using V = Vec<C>;
  const V wanted(value);
  int i = 0;
  if (value == value) {
    for (; i + 4 * V::N <= n; i += 4 * V::N) {
      auto equal = [&](int j) { return V::load(x + i + j * V::N) == wanted; };
      if (any((equal(0) | equal(1)) | (equal(2) | equal(3)))) break;
    }
    for (; i + V::N <= n; i += V::N)
      if (const Mask<C> equal = V::load(x + i) == wanted; any(equal)) return i + first(equal);
    while (x[i] != value) ++i;
  } else {
    while (x[i] == x[i]) ++i;
  }
  return i;
}

// Whether one of the elements that were seen is NaN: two vectors by one comparison.
template <class T>
struct NanSeen {
  Mask<T> found = Mask<T>(Int<T>(0));
  FASTNN_INLINE void see(Vec<T> a, Vec<T> b) {
    if constexpr (std::is_floating_point_v<T>) found = found | unordered(a, b);
  }
  FASTNN_INLINE bool any() const { return std::is_floating_point_v<T> && FASTNN_ISA::any(found); }
};

// The best of a chunk and, where wanted, its place.
template <bool indexed, class Op, class C>
C best_of_chunk(Op op, const C* x, int n, int64_t* index) {
  using V = Vec<C>;
  if (n < V::N) {
    int best = 0;
    for (int i = 1; i < n; ++i) best = replaces(op, op.turned(x[i]), op.turned(x[best])) ? i : best;
    *index = best;
    return x[best];
  }
  constexpr int kPairs = 4;
  V a[2 * kPairs];
  for (V& v : a) v = op.load(x);
  NanSeen<C> nan;
  int i = 0;
  for (; i + 2 * kPairs * V::N <= n; i += 2 * kPairs * V::N)
#pragma GCC unroll 4
    for (int j = 0; j < 2 * kPairs; j += 2) {
      const V even = op.load(x + i + j * V::N), odd = op.load(x + i + (j + 1) * V::N);
      prefetch_ahead(x + i + j * V::N), prefetch_ahead(x + i + (j + 1) * V::N);
      nan.see(even, odd);
      a[j] = op.pick(even, a[j]);
      a[j + 1] = op.pick(odd, a[j + 1]);
    }
  const V last = op.load(x + n - V::N);  // seeing an element twice does no harm
  nan.see(last, a[0]);                   // a[0] is NaN if the chunk's first vector is
  for (; i + V::N <= n; i += V::N) {
    const V v = op.load(x + i);
    nan.see(v, v);
    a[0] = op.pick(v, a[0]);
  }
  a[1] = op.pick(last, a[1]);
#pragma GCC unroll 4
  for (int step = kPairs; step > 0; step /= 2)
    for (int j = 0; j < step; ++j) a[j] = op.pick(a[j + step], a[j]);
  C best = op.turned(best_lane<Op, V::N / 2>(op, a[0], typename LanesUpTo<V::N>::type{}));
  if constexpr (std::is_floating_point_v<C>)
    if (nan.any()) best = static_cast<C>(__builtin_nanf(""));
  // Of 0 and -0, which are equal, the first is the best.
  if (indexed || best != best || best == C(0)) {
    *index = find(x, n, best);
    best = x[*index];
  }
  return best;
}

// One vector of neighbouring outputs: best value and, where wanted, its row. Rows come in order, so the first
// best stays.
template <class Op, class C, bool indexed>
struct Columns {
  using V = Vec<C>;
  V best;
  Mask<C> row;
  FASTNN_INLINE void first(V x) { best = x, row = Mask<C>(Int<C>(0)); }
  FASTNN_INLINE void next(Op op, V x, int r) {
    if constexpr (!indexed) {
      best = op.pick(x, best);
      if constexpr (std::is_floating_point_v<C>) best = select(x != x, x, best);
    } else {
      auto better = op.better(x, best);
      if constexpr (std::is_floating_point_v<C>) better = better | ((x != x) & (best == best));
      best = select(better, x, best);
      row = select(better, Mask<C>(static_cast<Int<C>>(r)), row);
    }
  }
};

template <bool indexed, class Op, class C, class T>
void best_of_tile(Op op, const T* x, const int64_t* offset, int rows, int width, C* value, int64_t* index) {
  using V = Vec<C>;
  constexpr int kVectors = kTile / V::N;
  Columns<Op, C, indexed> column[kVectors];
  alignas(64) C row[kTile] = {};
  for (int r = 0; r < rows; ++r) {
    prefetch_row(x, offset, r);
    const C* at = row;
    if constexpr (std::is_same_v<C, T>)
      if (width == kTile) at = x + offset[r];
    if (at == row)
      for (int j = 0; j < width; ++j) row[j] = static_cast<C>(x[offset[r] + j]);
    for (int j = 0; j < kVectors; ++j) {
      const V v = op.load(at + j * V::N);
      r == 0 ? column[j].first(v) : column[j].next(op, v, r);
    }
  }
  alignas(64) C best[kTile];
  alignas(64) Int<C> place[kTile];
  for (int j = 0; j < kVectors; ++j) {
    column[j].best.store(best + j * V::N);
    column[j].row.store(place + j * V::N);
  }
  for (int j = 0; j < width; ++j) value[j] = op.turned(best[j]);
  if (indexed)
    for (int j = 0; j < width; ++j) index[j] = place[j];
}

}  // namespace fastnn::FASTNN_ISA
