// Softmax over `size` elements that lie `inner` apart, for outer * inner rows, and the cross-entropy of rows
// of logits.
//
// inner == 1: a row is contiguous. Its passes (largest element; exponentials and their sum; scaling) run over
// memory that the first one brought into L1, and each element costs one exp. inner > 1: a strip of
// neighbouring rows fills the vectors, and the same passes run down its columns.
//
// A row with NaN, with +inf, or of -inf only, gives NaN, as x - max(x) does. Sums follow a fixed tree.
#include "backend/softmax.h"
#include "backend/integers.h"
#include "cpu/simd/math.h"
#include "cpu/simd/part.h"
#include "cpu/simd/sum.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr double kNsPerElement = 0.6;
constexpr int64_t kTaskElements = 1 << 14;
constexpr int kStrip = 4;  // vectors side by side, inner > 1

template <class T>
constexpr T kMinusInfinity = static_cast<T>(-__builtin_inff());

// Calls f(lane offset, number of lanes, full) for the vectors of a row. Where the last one is short, `full`
// is false.
template <class T, class F>
FASTNN_INLINE void for_vectors(int64_t n, F&& f) {
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) f(i, N);
  if (i < n) f(i, static_cast<int>(n - i));
}
template <class T>
T largest(const T* x, int64_t n) {
  using V = Vec<T>;
  V a(kMinusInfinity<T>), b = a;
  int64_t i = 0;
  for (; i + 2 * V::N <= n; i += 2 * V::N) a = max(a, V::load(x + i)), b = max(b, V::load(x + i + V::N));
  for (; i < n; i += V::N) {
    const int lanes = static_cast<int>(n - i < V::N ? n - i : V::N);
    a = max(a, first_lanes(load_some(x + i, lanes), lanes, kMinusInfinity<T>));
  }
  return reduce_max(max(a, b));
}

// Sum of f(vector, offset, lanes) over a row; lanes past its end count as 0. Every 64 vectors the sum so far
// is put aside, so that long rows keep their accuracy.
template <class T, class F>
FASTNN_INLINE T sum_row(int64_t n, F&& f) {
  using V = Vec<T>;
  constexpr int64_t kSpan = 64 * V::N;
  V total(T(0));
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    const int64_t length = n - begin < kSpan ? n - begin : kSpan;
    V sum(T(0));
    for_vectors<T>(length,
                   [&](int64_t i, int lanes) { sum = sum + first_lanes(f(begin + i, lanes), lanes, T(0)); });
    total = total + sum;
  }
  return reduce_add(total);
}

template <class T, class F>
Status for_rows(Context& ctx, int64_t rows, int64_t size, F&& f) {
  const int64_t per_task = size < kTaskElements ? kTaskElements / (size + 8) + 1 : 1;
  const double ns =
      static_cast<double>(rows) * (static_cast<double>(size) * kNsPerElement * sizeof(T) / 4 + 20);
  return parallel_for(ctx, ceil_div(rows, per_task), ns, [&](int64_t task, int) {
    const int64_t end = (task + 1) * per_task < rows ? (task + 1) * per_task : rows;
    for (int64_t row = task * per_task; row < end; ++row) f(row);
  });
}

// ---- rows -------------------------------------------------------------------------------------------------
template <class T>
void softmax_row(T* y, const T* x, int64_t n) {
  const Vec<T> top(largest(x, n));
  const T sum = sum_row<T>(n, [&](int64_t i, int lanes) {
    const Vec<T> e = exp(load_some(x + i, lanes) - top);
    store_some(e, y + i, lanes);
    return e;
  });
  const Vec<T> scale(1 / sum);
  for_vectors<T>(n, [&](int64_t i, int lanes) { store_some(load_some(y + i, lanes) * scale, y + i, lanes); });
}
template <class T>
FASTNN_INLINE T log_one(T x) {
  return log(Vec<T>(x))[0];
}
template <class T>
void log_softmax_row(T* y, const T* x, int64_t n) {
  const Vec<T> top(largest(x, n));
  const T sum = sum_row<T>(n, [&](int64_t i, int lanes) { return exp(load_some(x + i, lanes) - top); });
  const Vec<T> log_sum(log_one(sum));
  for_vectors<T>(
      n, [&](int64_t i, int lanes) { store_some(load_some(x + i, lanes) - top - log_sum, y + i, lanes); });
}
// dx = y (dy - sum dy y)
template <class T>
void softmax_backward_row(T* dx, const T* dy, const T* y, int64_t n) {
  const Vec<T> dot(sum_row<T>(
      n, [&](int64_t i, int lanes) { return load_some(dy + i, lanes) * load_some(y + i, lanes); }));
  for_vectors<T>(n, [&](int64_t i, int lanes) {
    store_some(load_some(y + i, lanes) * (load_some(dy + i, lanes) - dot), dx + i, lanes);
  });
}
// dx = dy - e^y sum dy
template <class T>
void log_softmax_backward_row(T* dx, const T* dy, const T* y, int64_t n) {
  const Vec<T> sum(sum_row<T>(n, [&](int64_t i, int lanes) { return load_some(dy + i, lanes); }));
  for_vectors<T>(n, [&](int64_t i, int lanes) {
    store_some(fma(-exp(load_some(y + i, lanes)), sum, load_some(dy + i, lanes)), dx + i, lanes);
  });
}

// ---- strips -----------------------------------------------------------------------------------------------
// A strip of up to kStrip vectors of neighbouring rows; element k of lane l is at k * inner + l.
template <class T>
struct Strip {
  static constexpr int N = Vec<T>::N;
  int64_t size, inner;
  int lanes[kStrip];  // of each vector, 0 past the end

  Strip(int64_t size, int64_t inner, int64_t width) : size(size), inner(inner) {
    for (int j = 0; j < kStrip; ++j)
      lanes[j] = static_cast<int>(width < 0 ? 0 : width < N ? width : N), width -= N;
  }
  template <class F>
  FASTNN_INLINE void each(F&& f) const {  // f(offset, vector, its lanes)
    for (int64_t k = 0; k < size; ++k)
      for (int j = 0; j < kStrip; ++j)
        if (lanes[j]) f(k * inner + j * N, j, lanes[j]);
  }
  // total[j] = sum over k of f; every 64 rows the sum so far is put aside.
  template <class F>
  FASTNN_INLINE void sum(Vec<T>* total, F&& f) const {
    Vec<T> part[kStrip];
    for (int j = 0; j < kStrip; ++j) total[j] = part[j] = Vec<T>(T(0));
    for (int64_t k = 0; k < size; ++k)
      for (int j = 0; j < kStrip; ++j) {
        if (lanes[j]) part[j] = part[j] + f(k * inner + j * N, j, lanes[j]);
        if (k % 64 == 63 || k + 1 == size) total[j] = total[j] + part[j], part[j] = Vec<T>(T(0));
      }
  }
};

template <class T, bool logarithm>
void softmax_strip(const Strip<T>& strip, T* y, const T* x) {
  using V = Vec<T>;
  V top[kStrip], sum[kStrip];
  for (int j = 0; j < kStrip; ++j) top[j] = V(kMinusInfinity<T>);
  strip.each([&](int64_t at, int j, int n) { top[j] = max(top[j], load_some(x + at, n)); });
  strip.sum(sum, [&](int64_t at, int j, int n) {
    const V e = exp(load_some(x + at, n) - top[j]);
    if (!logarithm) store_some(e, y + at, n);
    return e;
  });
  for (int j = 0; j < kStrip; ++j) sum[j] = logarithm ? log(sum[j]) : V(T(1)) / sum[j];
  strip.each([&](int64_t at, int j, int n) {
    const V v = logarithm ? load_some(x + at, n) - top[j] - sum[j] : load_some(y + at, n) * sum[j];
    store_some(v, y + at, n);
  });
}

template <class T, bool logarithm>
void softmax_backward_strip(const Strip<T>& strip, T* dx, const T* dy, const T* y) {
  using V = Vec<T>;
  V sum[kStrip];
  strip.sum(sum, [&](int64_t at, int, int n) {
    return logarithm ? load_some(dy + at, n) : load_some(dy + at, n) * load_some(y + at, n);
  });
  strip.each([&](int64_t at, int j, int n) {
    const V g = load_some(dy + at, n), v = load_some(y + at, n);
    store_some(logarithm ? fma(-exp(v), sum[j], g) : v * (g - sum[j]), dx + at, n);
  });
}

// Calls f(strip, offset of its first element) for the strips that cover all rows.
template <class T, class F>
Status for_strips(Context& ctx, const SoftmaxParams& p, F&& f) {
  constexpr int64_t kWidth = kStrip * Vec<T>::N;
  const int64_t strips = ceil_div(p.inner, kWidth);
  return for_rows<T>(ctx, p.outer * strips, p.size * (p.inner < kWidth ? p.inner : kWidth), [&](int64_t i) {
    const int64_t first = i % strips * kWidth;
    f(Strip<T>(p.size, p.inner, p.inner - first), i / strips * p.size * p.inner + first);
  });
}

template <class T, bool logarithm>
Status forward(Context& ctx, const SoftmaxParams& p) {
  T* y = static_cast<T*>(p.y);
  const T* x = static_cast<const T*>(p.x);
  if (p.inner > 1)
    return for_strips<T>(ctx, p, [&](const Strip<T>& strip, int64_t at) {
      softmax_strip<T, logarithm>(strip, y + at, x + at);
    });
  return for_rows<T>(ctx, p.outer, p.size, [&](int64_t row) {
    const int64_t at = row * p.size;
    logarithm ? log_softmax_row(y + at, x + at, p.size) : softmax_row(y + at, x + at, p.size);
  });
}
template <class T, bool logarithm>
Status backward(Context& ctx, const SoftmaxParams& p) {
  T* dx = static_cast<T*>(p.y);
  const T* y = static_cast<const T*>(p.x);
  const T* dy = static_cast<const T*>(p.dy);
  if (p.inner > 1)
    return for_strips<T>(ctx, p, [&](const Strip<T>& strip, int64_t at) {
      softmax_backward_strip<T, logarithm>(strip, dx + at, dy + at, y + at);
    });
  return for_rows<T>(ctx, p.outer, p.size, [&](int64_t row) {
    const int64_t at = row * p.size;
    logarithm ? log_softmax_backward_row(dx + at, dy + at, y + at, p.size)
              : softmax_backward_row(dx + at, dy + at, y + at, p.size);
  });
}

}  // namespace

template <class T>
Status softmax(Context& ctx, const SoftmaxParams& p) {
  return forward<T, false>(ctx, p);
}
template <class T>
Status log_softmax(Context& ctx, const SoftmaxParams& p) {
  return forward<T, true>(ctx, p);
}
template <class T>
Status softmax_backward(Context& ctx, const SoftmaxParams& p) {
  return backward<T, false>(ctx, p);
}
template <class T>
Status log_softmax_backward(Context& ctx, const SoftmaxParams& p) {
  return backward<T, true>(ctx, p);
}

// loss = log sum e^x - x[label]. Every row costs one exp per element and one logarithm, and is read once from
// memory.
// Whoever shares the labels may write them meanwhile: each is read once, and then is a class or is passed
// over.
FASTNN_INLINE bool is_class(const CrossEntropyParams& p, int64_t label) {
  return label != p.rule.ignore_index && label >= 0 && label < p.classes;
}

template <class T>
Status cross_entropy(Context& ctx, const CrossEntropyParams& p) {
  const T* logits = static_cast<const T*>(p.logits);
  T* const loss = static_cast<T*>(p.loss);
  const Status status = for_rows<T>(ctx, p.rows, p.classes, [&](int64_t row) {
    const T* x = logits + row * p.classes;
    const T top = largest(x, p.classes);
    const T sum = sum_row<T>(
        p.classes, [&](int64_t i, int lanes) { return exp(load_some(x + i, lanes) - Vec<T>(top)); });
    const T log_sum = log_one(sum);
    static_cast<T*>(p.log_sum_exp)[2 * row] = top;
    static_cast<T*>(p.log_sum_exp)[2 * row + 1] = log_sum;
    const int64_t label = __atomic_load_n(p.labels + row, __ATOMIC_RELAXED);
    // (top - x) is exact where the label's logit is near the top, which keeps small losses accurate.
    loss[row] = is_class(p, label) ? (top - x[label]) + log_sum : T(0);
  });
  if (status != Status::ok) return status;
  int64_t counted = 0;
  for (int64_t row = 0; row < p.rows;
       ++row) {  // in order: the first label that is none is the one to be told of
    const int64_t label = p.labels[row];
    counted += label != p.rule.ignore_index;
    if (label != p.rule.ignore_index && !is_class(p, label)) note_bad_index(*ctx.bad_index, p.rule, label);
  }
  if (!p.total) return status;
  const T total = sum_dense(loss, p.rows);
  *static_cast<T*>(p.total) = p.mean ? total * static_cast<T>(1 / static_cast<double>(counted)) : total;
  *p.counted = counted;
  return status;
}

// dx = (softmax(x) - one_hot(label)) dloss
template <class T>
Status cross_entropy_backward(Context& ctx, const CrossEntropyParams& p) {
  using V = Vec<T>;
  const T share = p.mean ? static_cast<T>(1 / static_cast<double>(*p.counted)) : T(1);
  const T* logits = static_cast<const T*>(p.logits);
  return for_rows<T>(ctx, p.rows, p.classes, [&](int64_t row) {
    const T* x = logits + row * p.classes;
    T* dx = static_cast<T*>(p.dlogits) + row * p.classes;
    const int64_t label = __atomic_load_n(p.labels + row, __ATOMIC_RELAXED);
    if (!is_class(p, label)) {
      memset(dx, 0, static_cast<size_t>(p.classes) * sizeof(T));
      return;
    }
    const T scale = (p.dloss ? static_cast<const T*>(p.dloss)[row * p.dloss_stride] : T(1)) * share;
    const T* pair = static_cast<const T*>(p.log_sum_exp) + 2 * row;
    const V top(pair[0]), log_sum(pair[1]), factor(scale);
    for_vectors<T>(p.classes, [&](int64_t i, int lanes) {
      store_some(exp(load_some(x + i, lanes) - top - log_sum) * factor, dx + i, lanes);
    });
    dx[label] -= scale;
  });
}

FASTNN_EXPORT(SoftmaxTable, softmax, FASTNN_SOFTMAX)

}  // namespace fastnn::FASTNN_ISA
