// Pooling of planes of H x W pixels to P x Q windows of R x S taps (kernel_h x kernel_w).
//
// Vectors run along q; a vector of outputs is computed in registers, tap after tap, from loads that step by
// stride_w: contiguous for 1, two loads and a shuffle for 2, lane by lane otherwise. The plane is first
// copied to rows padded on both sides, in L1 or L2, so that no tap meets an edge; where that would cost too
// much memory (huge kernels), the outputs whose taps all fall inside a row (the interior) are computed so,
// and those at either side alone, with the same operations in the same order. 2 x 2 windows with stride 2,
// the usual case, have paths of their own. Tasks are whole planes.
#include "backend/pool.h"
#include "cpu/pool/window.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kTaskElements = 1 << 15;

template <class F>
Status for_planes(Context& ctx, const PoolParams& p, double ns_per_element, F&& f) {
  const int64_t size = p.h * p.w + p.p * p.q, per_task = max_of(1, kTaskElements / max_of(1, size));
  const double ns = static_cast<double>(p.planes * size) * ns_per_element;
  return parallel_for(ctx, ceil_div(p.planes, per_task), ns, [&](int64_t task, int worker) {
    for (int64_t i = task * per_task; i < min_of(p.planes, (task + 1) * per_task); ++i) f(i, worker);
  });
}

// n window positions, one or four bytes each, where they are wanted. Those of a byte are stored in whole
// vectors where `room` positions from `at` on may be written: a copy of some bytes is a call.
template <class I>
FASTNN_INLINE void store_positions(Vec<I> position, void* index, int bytes, int64_t at, int n, int64_t room) {
  constexpr int N = Vec<I>::N;
  if (!index) return;
  I lane[N];
  position.store(lane);
  if (bytes == 1) {
    uint8_t narrow[N];
    for (int i = 0; i < N; ++i) narrow[i] = static_cast<uint8_t>(lane[i]);
    uint8_t* to = static_cast<uint8_t*>(index) + at;
    n == N || room >= N ? memcpy(to, narrow, N) : memcpy(to, narrow, static_cast<size_t>(n));
  } else {
    for (int i = 0; i < n; ++i) static_cast<int32_t*>(index)[at + i] = static_cast<int32_t>(lane[i]);
  }
}
FASTNN_INLINE int64_t position_at(const PoolParams& p, int64_t i) {
  return p.index_bytes == 1 ? static_cast<const uint8_t*>(p.index)[i]
                            : static_cast<const int32_t*>(p.index)[i];
}

// ---- maximum ----------------------------------------------------------------------------------------------
// The largest pixel so far and its tap: the first of equals; a NaN wins over numbers and earlier NaNs, as in
// PyTorch.
template <class T>
struct Largest {
  Vec<T> value = Vec<T>(static_cast<T>(-__builtin_inff()));
  Mask<T> tap = Mask<T>(Int<T>(0));
  FASTNN_INLINE void start(Vec<T> x, int64_t t) { value = x, tap = Mask<T>(static_cast<Int<T>>(t)); }
  FASTNN_INLINE void see(Vec<T> x, int64_t t) {
    const Mask<T> larger = (x > value) | (x != x);
    value = select(larger, x, value);
    tap = select(larger, Mask<T>(static_cast<Int<T>>(t)), tap);
  }
};

template <class T>
FASTNN_INLINE Vec<T> larger(Vec<T> best, Vec<T> x) {  // as Largest, without the tap
  return select((x > best) | (x != x), x, best);
}

template <class T>
void max_row_halves_alone(const PoolParams& p, const T* x, T* y) {
  each_halved_vector<T>(p, [&](int64_t q, int n) {
    const Both<T> top = load_pairs(x + 2 * q, n), bottom = load_pairs(x + p.w + 2 * q, n);
    store_some(larger(larger(larger(top.a, top.b), bottom.a), bottom.b), y + q, n);
  });
}

template <class T>
void max_row_halves(const PoolParams& p, const T* x, int64_t row, T* y, int64_t at) {
  if (!p.index) return max_row_halves_alone(p, x, y + at);
  each_halved_vector<T>(p, [&](int64_t q, int n) {
    const Both<T> top = load_pairs(x + 2 * q, n), bottom = load_pairs(x + p.w + 2 * q, n);
    Largest<T> best;
    best.start(top.a, 0);
    best.see(top.b, 1);
    best.see(bottom.a, 2);
    best.see(bottom.b, 3);
    store_some(best.value, y + at + q, n);
    store_positions(best.tap, p.index, 1, at + q, n, (p.p - row) * p.q - q);
  });
}

template <class T>
void max_row(const PoolParams& p, const Interior& interior, const T* x, int64_t row, T* y, int64_t at) {
  using V = Vec<T>;
  const Taps rows = rows_of(p, row);
  auto see_all = [&](Largest<T>& best, const Taps& columns, int64_t q_stride, int n) {
    bool first = true;
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t s = columns.begin; s < columns.end; ++s) {
        const T* from = x + (rows.origin + r * p.dilation_h) * p.w + columns.origin + s * p.dilation_w;
        const V v = load_apart(from, q_stride, n);
        first ? best.start(v, r * p.kernel_w + s) : best.see(v, r * p.kernel_w + s);
        first = false;
      }
  };
  for (int64_t q = 0; q < p.q;) {
    const bool inside = q >= interior.begin && q < interior.end;
    const int n = inside ? static_cast<int>(min_of(V::N, interior.end - q)) : 1;
    Largest<T> best;
    see_all(best, columns_of(p, q), p.stride_w, n);
    store_some(best.value, y + at + q, n);
    store_positions(best.tap, p.index, p.index_bytes, at + q, n, (p.p - row) * p.q - q);
    q += n;
  }
}

// The same from a padded plane. `first` is the first tap of each output that meets a pixel: padding never
// wins, not even over -inf, for the maximum starts there.
template <class T>
void max_row_padded(const PoolParams& p, int64_t pitch, const Int<T>* first, const T* plane, int64_t row,
                    T* y, int64_t at) {
  using V = Vec<T>;
  const Taps rows = rows_of(p, row);
  for (int64_t q = 0; q < p.q; q += V::N) {
    const int n = static_cast<int>(min_of(V::N, p.q - q));
    Largest<T> best;
    best.tap = Mask<T>::load(first + q) + Mask<T>(static_cast<Int<T>>(rows.begin * p.kernel_w));
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T* from = plane + (rows.origin + r * p.dilation_h) * pitch + q * p.stride_w;
      for (int64_t s = 0; s < p.kernel_w; ++s, from += p.dilation_w)
        best.see(load_padded(from, p.stride_w, n), r * p.kernel_w + s);
    }
    store_some(best.value, y + at + q, n);
    store_positions(best.tap, p.index, p.index_bytes, at + q, n, (p.p - row) * p.q - q);
  }
}

// dx of a 2 x 2 window: dy where the maximum was, 0 in the other three; pixels beyond the last window get 0.
template <class T>
void max_halves_backward(const PoolParams& p, const T* dy, int64_t at, T* dx) {
  using V = Vec<T>;
  using I = Int<T>;
  const V zero(T(0));
  const int64_t covered = 2 * p.q, positions = p.planes * p.p * p.q;
  for (int64_t row = 0; row < p.p; ++row, dy += p.q, at += p.q) {
    T* top = dx + 2 * row * p.w;
    T* bottom = top + p.w;
    each_halved_vector<T>(p, [&](int64_t q, int n) {
      const uint8_t* index = static_cast<const uint8_t*>(p.index) + at + q;
      uint8_t tap[V::N] = {};
      I wide[V::N];
      const bool whole = at + q + V::N <= positions;  // a copy of some bytes is a call
      whole ? memcpy(tap, index, V::N) : memcpy(tap, index, static_cast<size_t>(n));
      for (int i = 0; i < V::N; ++i) wide[i] = tap[i];
      const Mask<T> position = Mask<T>::load(wide);
      const V g = n == V::N ? V::load(dy + q) : V::load_n(dy + q, n);
      auto where = [&](int t) { return select(position == Mask<T>(I(t)), g, zero); };
      store_pairs(interleave(where(0), where(1)), top + 2 * q, n);
      store_pairs(interleave(where(2), where(3)), bottom + 2 * q, n);
    });
    for (int64_t c = covered; c < p.w; ++c) top[c] = bottom[c] = T(0);
  }
  memset(dx + 2 * p.p * p.w, 0, static_cast<size_t>((p.h - 2 * p.p) * p.w) * sizeof(T));
}

// Distance in memory from a window's origin to each of its taps; windows of more than kTable taps divide
// instead.
constexpr int kTable = 256;
struct TapOffsets {
  const PoolParams& p;
  int32_t table[kTable];
  explicit TapOffsets(const PoolParams& params) : p(params) {
    for (int t = 0; t < kTable && t < p.kernel_h * p.kernel_w; ++t)
      table[t] = static_cast<int32_t>(compute(t));
  }
  FASTNN_INLINE int64_t compute(int64_t t) const {
    return t / p.kernel_w * p.dilation_h * p.w + t % p.kernel_w * p.dilation_w;
  }
  // Of output i of all planes, at (row, q) of its own: where in the plane its maximum was.
  FASTNN_INLINE int64_t operator()(int64_t i, int64_t row, int64_t q) const {
    const int64_t t = position_at(p, i);
    const int64_t origin = (row * p.stride_h - p.pad_h) * p.w + q * p.stride_w - p.pad_w;
    return origin + (p.index_bytes == 1 ? table[t] : compute(t));
  }
};

// ---- average ----------------------------------------------------------------------------------------------
// By how many pixels a window's sum is divided: those inside, or, counting padding, those not beyond it.
int64_t count_of(const PoolParams& p, const Taps& t, int64_t kernel, int64_t size, int64_t pad) {
  return p.count_include_pad ? min_of(kernel, size + pad - t.origin) : t.end - t.begin;
}
int64_t divisor(const PoolParams& p, const Taps& rows, const Taps& columns) {
  return max_of(1,
                count_of(p, rows, p.kernel_h, p.h, p.pad_h) * count_of(p, columns, p.kernel_w, p.w, p.pad_w));
}

template <class T>
void avg_row(const PoolParams& p, const Interior& interior, const T* x, int64_t row, T* y) {
  using V = Vec<T>;
  const Taps rows = rows_of(p, row);
  for (int64_t q = 0; q < p.q;) {
    const bool inside = q >= interior.begin && q < interior.end;
    const int n = inside ? static_cast<int>(min_of(V::N, interior.end - q)) : 1;
    const Taps columns = columns_of(p, q);
    V sum(T(0));
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t s = columns.begin; s < columns.end; ++s)
        sum = sum + load_apart(x + (rows.origin + r) * p.w + columns.origin + s, p.stride_w, n);
    store_some(sum / V(static_cast<T>(divisor(p, rows, columns))), y + q, n);
    q += n;
  }
}
// The same from a padded plane; `columns` counts each output's pixels along the row.
template <class T>
void avg_row_padded(const PoolParams& p, int64_t pitch, const T* columns, const T* plane, int64_t row, T* y) {
  using V = Vec<T>;
  const Taps rows = rows_of(p, row);
  const V height(static_cast<T>(count_of(p, rows, p.kernel_h, p.h, p.pad_h)));
  for (int64_t q = 0; q < p.q; q += V::N) {
    const int n = static_cast<int>(min_of(V::N, p.q - q));
    V sum(T(0));
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T* from = plane + (rows.origin + r) * pitch + q * p.stride_w;
      for (int64_t s = 0; s < p.kernel_w; ++s) sum = sum + load_padded(from + s, p.stride_w, n);
    }
    store_some(sum / (height * V::load(columns + q)), y + q, n);
  }
}
template <class T>
void avg_row_halves(const PoolParams& p, const T* x, T* y) {
  using V = Vec<T>;
  each_halved_vector<T>(p, [&](int64_t q, int n) {
    const Both<T> top = load_pairs(x + 2 * q, n), bottom = load_pairs(x + p.w + 2 * q, n);
    store_some((((V(T(0)) + top.a) + top.b + bottom.a) + bottom.b) * V(T(0.25)), y + q, n);
  });
}
// One window per plane: four sums, by the vector.
template <class T>
T sum_plane(const T* x, int64_t n) {
  using V = Vec<T>;
  V a[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
  int64_t i = 0;
  for (; i + 4 * V::N <= n; i += 4 * V::N)
    for (int j = 0; j < 4; ++j) a[j] = a[j] + V::load(x + i + j * V::N);
  for (int j = 0; i < n; ++j, i += V::N)
    a[j] = a[j] + V::load_n(x + i, static_cast<int>(min_of(V::N, n - i)));
  return reduce_add((a[0] + a[2]) + (a[1] + a[3]));
}

// Adds a row's shares to the pixels of its windows, tap after tap; `share` holds dy / divisor of the row's
// outputs.
template <class T>
void spread_row(const PoolParams& p, const T* share, int64_t row, T* dx) {
  const Taps rows = rows_of(p, row);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    T* to = dx + (rows.origin + r) * p.w;
    for (int64_t s = 0; s < p.kernel_w; ++s) {
      const int64_t shift = s - p.pad_w;  // pixel q * stride_w + shift lies inside for q in [begin, end)
      const int64_t begin = shift < 0 ? ceil_div(-shift, p.stride_w) : 0;
      const int64_t end = p.w - shift <= 0 ? 0 : min_of(p.q, (p.w - shift - 1) / p.stride_w + 1);
      if (p.stride_w == 1)
        for (int64_t q = begin; q < end; ++q) to[q + shift] += share[q];
      else
        for (int64_t q = begin; q < end; ++q) to[q * p.stride_w + shift] += share[q];
    }
  }
}
template <class T>
void avg_halves_backward(const PoolParams& p, const T* dy, T* dx) {
  using V = Vec<T>;
  for (int64_t row = 0; row < p.p; ++row, dy += p.q) {
    T* top = dx + 2 * row * p.w;
    each_halved_vector<T>(p, [&](int64_t q, int n) {
      const V share = (n == V::N ? V::load(dy + q) : V::load_n(dy + q, n)) * V(T(0.25));
      const Both<T> twice = interleave(share, share);
      store_pairs(twice, top + 2 * q, n), store_pairs(twice, top + p.w + 2 * q, n);
    });
    for (int64_t c = 2 * p.q; c < p.w; ++c) top[c] = top[p.w + c] = T(0);
  }
  memset(dx + 2 * p.p * p.w, 0, static_cast<size_t>((p.h - 2 * p.p) * p.w) * sizeof(T));
}

}  // namespace

template <class T>
Status max_pool2d(Context& ctx, const PoolParams& p) {
  const Interior interior(p);
  const Padded<T> padded(p);
  const bool fast = halves(p);
  T* scratch = nullptr;
  if (!fast && padded.usable) {
    scratch = workspace<T>(ctx, padded.elements(ctx, p));
    if (!scratch) return Status::need_workspace;
    for (int64_t q = 0; q < padded.outputs; ++q)
      reinterpret_cast<Int<T>*>(scratch)[q] = static_cast<Int<T>>(columns_of(p, q).begin);
  }
  return for_planes(ctx, p, fast ? 0.3 : 0.6, [&](int64_t plane, int worker) {
    const T* x = static_cast<const T*>(p.x) + plane * p.h * p.w;
    const T* rows = scratch ? padded.fill(scratch, worker, p, x, static_cast<T>(-__builtin_inff())) : nullptr;
    T* y = static_cast<T*>(p.y);
    for (int64_t row = 0; row < p.p; ++row) {
      const int64_t at = (plane * p.p + row) * p.q;
      if (fast)
        max_row_halves(p, x + 2 * row * p.w, row, y, at);
      else if (scratch)
        max_row_padded(p, padded.pitch, reinterpret_cast<const Int<T>*>(scratch), rows, row, y, at);
      else
        max_row(p, interior, x, row, y, at);
    }
  });
}

template <class T>
Status max_pool2d_backward(Context& ctx, const PoolParams& p) {
  const bool fast = halves(p);
  const TapOffsets where(p);
  return for_planes(ctx, p, fast ? 0.3 : 0.8, [&](int64_t plane, int) {
    const T* dy = static_cast<const T*>(p.x) + plane * p.p * p.q;
    T* dx = static_cast<T*>(p.y) + plane * p.h * p.w;
    int64_t i = plane * p.p * p.q;
    if (fast) return max_halves_backward(p, dy, i, dx);
    memset(dx, 0, static_cast<size_t>(p.h * p.w) * sizeof(T));
    for (int64_t row = 0; row < p.p; ++row)
      for (int64_t q = 0; q < p.q; ++q, ++i) dx[where(i, row, q)] += *dy++;
  });
}

template <class T>
Status max_pool2d_gather(Context& ctx, const PoolParams& p) {
  const TapOffsets where(p);
  return for_planes(ctx, p, 0.6, [&](int64_t plane, int) {
    const T* x = static_cast<const T*>(p.x) + plane * p.h * p.w;
    T* y = static_cast<T*>(p.y);
    int64_t i = plane * p.p * p.q;
    for (int64_t row = 0; row < p.p; ++row)
      for (int64_t q = 0; q < p.q; ++q, ++i) y[i] = x[where(i, row, q)];
  });
}

template <class T>
Status avg_pool2d(Context& ctx, const PoolParams& p) {
  const Interior interior(p);
  const Padded<T> padded(p);
  const bool fast = halves(p);
  const bool whole =
      p.p == 1 && p.q == 1 && p.kernel_h == p.h && p.kernel_w == p.w && p.pad_h == 0 && p.pad_w == 0;
  T* scratch = nullptr;
  if (!fast && !whole && padded.usable) {
    scratch = workspace<T>(ctx, padded.elements(ctx, p));
    if (!scratch) return Status::need_workspace;
    for (int64_t q = 0; q < padded.outputs; ++q)
      scratch[q] = static_cast<T>(max_of(1, count_of(p, columns_of(p, q), p.kernel_w, p.w, p.pad_w)));
  }
  return for_planes(ctx, p, fast || whole ? 0.3 : 0.6, [&](int64_t plane, int worker) {
    const T* x = static_cast<const T*>(p.x) + plane * p.h * p.w;
    T* y = static_cast<T*>(p.y) + plane * p.p * p.q;
    if (whole) {
      *y = sum_plane(x, p.h * p.w) / static_cast<T>(p.h * p.w);
      return;
    }
    const T* rows = scratch ? padded.fill(scratch, worker, p, x, T(0)) : nullptr;
    for (int64_t row = 0; row < p.p; ++row, y += p.q)
      if (fast)
        avg_row_halves(p, x + 2 * row * p.w, y);
      else if (scratch)
        avg_row_padded(p, padded.pitch, scratch, rows, row, y);
      else
        avg_row(p, interior, x, row, y);
  });
}

template <class T>
Status avg_pool2d_backward(Context& ctx, const PoolParams& p) {
  const bool fast = halves(p);
  // Per output of a row: how many pixels it has along the row; and for each worker a row of dy / divisor.
  T* columns = workspace<T>(ctx, static_cast<size_t>(p.q * (1 + ctx.threads)));
  if (!columns) return Status::need_workspace;
  for (int64_t q = 0; q < p.q; ++q)
    columns[q] = static_cast<T>(max_of(1, count_of(p, columns_of(p, q), p.kernel_w, p.w, p.pad_w)));
  return for_planes(ctx, p, fast ? 0.3 : 1, [&](int64_t plane, int worker) {
    const T* dy = static_cast<const T*>(p.x) + plane * p.p * p.q;
    T* dx = static_cast<T*>(p.y) + plane * p.h * p.w;
    if (fast) return avg_halves_backward(p, dy, dx);
    memset(dx, 0, static_cast<size_t>(p.h * p.w) * sizeof(T));
    T* share = columns + p.q * (1 + worker);
    for (int64_t row = 0; row < p.p; ++row, dy += p.q) {
      const T height = static_cast<T>(max_of(1, count_of(p, rows_of(p, row), p.kernel_h, p.h, p.pad_h)));
      for (int64_t q = 0; q < p.q; ++q) share[q] = dy[q] / (height * columns[q]);
      spread_row(p, share, row, dx);
    }
  });
}

FASTNN_EXPORT(PoolTable, pool, FASTNN_POOL)

}  // namespace fastnn::FASTNN_ISA
