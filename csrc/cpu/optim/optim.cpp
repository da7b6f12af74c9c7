// Optimiser steps: one call over the parameters of a whole model, one pass over their memory.
//
// The tensors are taken as one concatenation, which is cut into tasks of kTaskElements: a large tensor is
// shared by many tasks, and many small ones fall into a single task. Every element is updated alone, so where
// a vector begins does not matter. Bytes per element (float): SGD 12, with momentum 20, Adam 28.
#include "backend/optim.h"
#include "backend/integers.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kTaskElements = 8192;
constexpr double kNsPerElement = 2;

// Calls f(tensor, begin, end) for the ranges that make up each task.
template <class F>
Status for_ranges(Context& ctx, const OptimTensor* tensors, int64_t count, F&& f) {
  int64_t* start = workspace<int64_t>(ctx, static_cast<size_t>(count + 1));
  if (!start) return Status::need_workspace;
  start[0] = 0;
  for (int64_t i = 0; i < count; ++i) start[i + 1] = start[i] + tensors[i].numel;
  const int64_t total = start[count], tasks = ceil_div(total, kTaskElements);
  return parallel_for(ctx, tasks, static_cast<double>(total) * kNsPerElement, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElements,
                  end = begin + kTaskElements < total ? begin + kTaskElements : total;
    int64_t low = 0, high = count;  // start[low] <= begin < start[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (start[middle] <= begin ? low : high) = middle;
    }
    for (int64_t i = low; i < count && start[i] < end; ++i) {
      const int64_t from = begin > start[i] ? begin - start[i] : 0;
      const int64_t to = end < start[i + 1] ? end - start[i] : tensors[i].numel;
      if (from < to) f(tensors[i], from, to);
    }
  });
}

template <class T>
struct Sgd {
  using V = Vec<T>;
  static constexpr bool second = false;
  V lr, momentum, rate, weight_decay;  // rate = 1 - dampening
  bool has_momentum, nesterov, maximize, first_step, decays;

  explicit Sgd(const SgdParams& p)
      : lr(static_cast<T>(p.lr)),
        momentum(static_cast<T>(p.momentum)),
        rate(static_cast<T>(1 - p.dampening)),
        weight_decay(static_cast<T>(p.weight_decay)),
        has_momentum(p.momentum != 0),
        nesterov(p.nesterov),
        maximize(p.maximize),
        first_step(p.first_step),
        decays(p.weight_decay != 0) {}

  // g' = g + decay w;  b = momentum b + rate g' (the first: g');  w -= lr (nesterov ? g' + momentum b : b)
  FASTNN_INLINE void update(V& w, V g, V& b, V&) const {
    if (maximize) g = -g;
    if (decays) g = fma(weight_decay, w, g);
    if (has_momentum) {
      b = first_step ? g : fma(momentum, b, rate * g);
      g = nesterov ? fma(momentum, b, g) : b;
    }
    w = w - lr * g;
  }
};

template <class T>
struct Adam {
  using V = Vec<T>;
  static constexpr bool second = true;
  V beta1, beta2, rate1, rate2, eps, step_size, root_scale, shrink, weight_decay;
  bool maximize, decays;

  // beta^step by repeated squaring: no library function, so the same bits everywhere.
  static double power(double base, int64_t exponent) {
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
      if (exponent % 2) result *= base;
    return result;
  }
  explicit Adam(const AdamParams& p)
      : beta1(static_cast<T>(p.beta1)),
        beta2(static_cast<T>(p.beta2)),
        rate1(static_cast<T>(1 - p.beta1)),
        rate2(static_cast<T>(1 - p.beta2)),
        eps(static_cast<T>(p.eps)),
        step_size(static_cast<T>(p.lr / (1 - power(p.beta1, p.step)))),
        root_scale(static_cast<T>(1 / __builtin_sqrt(1 - power(p.beta2, p.step)))),
        shrink(static_cast<T>(p.decoupled ? 1 - p.lr * p.weight_decay : 1)),
        weight_decay(static_cast<T>(p.weight_decay)),
        maximize(p.maximize),
        decays(!p.decoupled && p.weight_decay != 0) {}

  // m += rate1 (g - m);  v = beta2 v + rate2 g^2;  w -= step_size m / (sqrt(v) root_scale + eps), where
  // step_size and root_scale hold the corrections of the moments' bias.
  FASTNN_INLINE void update(V& w, V g, V& m, V& v) const {
    if (maximize) g = -g;
    w = w * shrink;
    if (decays) g = fma(weight_decay, w, g);
    m = fma(rate1, g - m, m);
    v = fma(rate2 * g, g, beta2 * v);
    w = w - step_size * m / fma(sqrt(v), root_scale, eps);
  }
};

template <class T, bool first, class Rule>
void update_range(const Rule& rule, const OptimTensor& t, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T* w = static_cast<T*>(t.w);
  const T* g = static_cast<const T*>(t.g);
  T* m = static_cast<T*>(t.state1);
  T* v = static_cast<T*>(t.state2);
  const V zero(T(0));
  int64_t i = begin;
  for (; i + V::N <= end; i += V::N) {
    V wi = V::load(w + i), mi = first ? V::load(m + i) : zero, vi = Rule::second ? V::load(v + i) : zero;
    rule.update(wi, V::load(g + i), mi, vi);
    wi.store(w + i);
    if constexpr (first) mi.store(m + i);
    if constexpr (Rule::second) vi.store(v + i);
  }
  const int n = static_cast<int>(end - i);
  if (n == 0) return;
  V wi = V::load_n(w + i, n), mi = first ? V::load_n(m + i, n) : zero,
    vi = Rule::second ? V::load_n(v + i, n) : zero;
  rule.update(wi, V::load_n(g + i, n), mi, vi);
  wi.store_n(w + i, n);
  if constexpr (first) mi.store_n(m + i, n);
  if constexpr (Rule::second) vi.store_n(v + i, n);
}

}  // namespace

template <class T>
Status sgd(Context& ctx, const SgdParams& p) {
  const Sgd<T> rule(p);
  return for_ranges(ctx, p.tensors, p.count, [&](const OptimTensor& t, int64_t begin, int64_t end) {
    rule.has_momentum ? update_range<T, true>(rule, t, begin, end)
                      : update_range<T, false>(rule, t, begin, end);
  });
}
template <class T>
Status adam(Context& ctx, const AdamParams& p) {
  const Adam<T> rule(p);
  return for_ranges(ctx, p.tensors, p.count, [&](const OptimTensor& t, int64_t begin, int64_t end) {
    update_range<T, true>(rule, t, begin, end);
  });
}

FASTNN_EXPORT(OptimTable, optim, FASTNN_OPTIM)

}  // namespace fastnn::FASTNN_ISA
