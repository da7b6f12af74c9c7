// Optimiser steps: one pass over the memory of all parameters. A launch takes a list of tensors by value;
// each block finds its tensor by the block it starts at. Every element is updated alone, by the arithmetic of
// the CPU's kernels to the bit. Bytes per element (float): SGD 12, with momentum 20, Adam 28.
#include "backend/optim.h"
#include "cuda/common/math.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {
namespace {

constexpr int kOptimThreads = 256;
constexpr int kOptimUnroll = 2;  // vectors of each operand in flight: eight loads a thread for Adam
template <class T>
constexpr int64_t kBlockElements = kOptimThreads * kOptimUnroll * kVector<T>;

// With the rule's constants it stays within the 4096 bytes of parameters that every driver takes.
constexpr int kListTensors = 88;
struct TensorList {
  OptimTensor tensor[kListTensors];
  unsigned first_block[kListTensors + 1];
  int count;
};

template <class T>
struct Sgd {
  static constexpr bool second = false;
  T lr, momentum, rate, weight_decay;  // rate = 1 - dampening
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
  __device__ void update(T& w, T g, T& b, T&) const {
    if (maximize) g = -g;
    if (decays) g = math_fma(weight_decay, w, g);
    if (has_momentum) {
      b = first_step ? g : math_fma(momentum, b, rate * g);
      g = nesterov ? math_fma(momentum, b, g) : b;
    }
    w = w - lr * g;
  }
};

template <class T>
struct Adam {
  static constexpr bool second = true;
  T beta1, beta2, rate1, rate2, eps, step_size, root_scale, shrink, weight_decay;
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
        root_scale(static_cast<T>(1 / ::sqrt(1 - power(p.beta2, p.step)))),
        shrink(static_cast<T>(p.decoupled ? 1 - p.lr * p.weight_decay : 1)),
        weight_decay(static_cast<T>(p.weight_decay)),
        maximize(p.maximize),
        decays(!p.decoupled && p.weight_decay != 0) {}

  // m += rate1 (g - m);  v = beta2 v + rate2 g^2;  w -= step_size m / (sqrt(v) root_scale + eps), where
  // step_size and root_scale hold the corrections of the moments' bias.
  __device__ void update(T& w, T g, T& m, T& v) const {
    if (maximize) g = -g;
    w = w * shrink;
    if (decays) g = math_fma(weight_decay, w, g);
    m = math_fma(rate1, g - m, m);
    v = math_fma(rate2 * g, g, beta2 * v);
    w = w - step_size * m / math_fma(math_sqrt(v), root_scale, eps);
  }
};

// Vectors of V elements from element `begin` on: threadIdx.x, threadIdx.x + 256, ... of `count`, U of them.
template <class T, int V, int U, bool first, class Rule>
__device__ void update_some(const Rule& rule, const OptimTensor& t, int64_t begin, int count) {
  using Few = Vector<T, V>;
  T* const w = static_cast<T*>(t.w) + begin;
  const T* const g = static_cast<const T*>(t.g) + begin;
  T* const m = static_cast<T*>(t.state1) + begin;
  T* const v = static_cast<T*>(t.state2) + begin;
  Few wi[U] = {}, gi[U] = {}, mi[U] = {}, vi[U] = {};
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const int i = static_cast<int>(threadIdx.x) + u * kOptimThreads;
    if (i >= count) continue;
    wi[u] = Few::load(w + i * V), gi[u] = Few::load(g + i * V);
    if constexpr (first) mi[u] = Few::load(m + i * V);
    if constexpr (Rule::second) vi[u] = Few::load(v + i * V);
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const int i = static_cast<int>(threadIdx.x) + u * kOptimThreads;
    if (i >= count) continue;
#pragma unroll
    for (int e = 0; e < V; ++e) rule.update(wi[u].v[e], gi[u].v[e], mi[u].v[e], vi[u].v[e]);
    wi[u].store(w + i * V);
    if constexpr (first) mi[u].store(m + i * V);
    if constexpr (Rule::second) vi[u].store(v + i * V);
  }
}

template <class T, bool first, class Rule>
__global__ void __launch_bounds__(kOptimThreads) update_kernel(Rule rule, TensorList list) {
  constexpr int V = kVector<T>;
  int low = 0, high = list.count;  // first_block[low] <= blockIdx.x < first_block[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (list.first_block[middle] <= blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  const OptimTensor& t = list.tensor[low];
  const int64_t begin = static_cast<int64_t>(blockIdx.x - list.first_block[low]) * kBlockElements<T>;
  const int count =
      static_cast<int>(t.numel - begin < kBlockElements<T> ? t.numel - begin : kBlockElements<T>);
  if (vector_aligned(t.w) && vector_aligned(t.g) && vector_aligned(t.state1) && vector_aligned(t.state2)) {
    update_some<T, V, kOptimUnroll, first>(rule, t, begin, count / V);
    update_some<T, 1, 1, first>(rule, t, begin + count / V * V, count % V);
  } else {
    update_some<T, 1, kOptimUnroll * V, first>(rule, t, begin, count);
  }
}

template <class T, bool first, class Rule>
Status update(Context& ctx, const Rule& rule, const OptimTensor* tensors, int64_t count) {
  constexpr int64_t kMostBlocks = 1 << 30;
  TensorList list;
  for (int64_t next = 0; next < count;) {
    unsigned blocks = 0;
    list.count = 0;
    while (next < count && list.count < kListTensors && (list.count == 0 || blocks < kMostBlocks)) {
      list.tensor[list.count] = tensors[next];
      list.first_block[list.count++] = blocks;
      blocks += static_cast<unsigned>(ceil_div(tensors[next++].numel, kBlockElements<T>));
    }
    list.first_block[list.count] = blocks;
    const Status status = launch<update_kernel<T, first, Rule>>(ctx, blocks, kOptimThreads, 0, rule, list);
    if (status != Status::ok) return status;
  }
  return Status::ok;
}

template <class T>
Status sgd(Context& ctx, const SgdParams& p) {
  const Sgd<T> rule(p);
  return rule.has_momentum ? update<T, true>(ctx, rule, p.tensors, p.count)
                           : update<T, false>(ctx, rule, p.tensors, p.count);
}
template <class T>
Status adam(Context& ctx, const AdamParams& p) {
  return update<T, true>(ctx, Adam<T>(p), p.tensors, p.count);
}

}  // namespace

FASTNN_EXPORT(OptimTable, optim, FASTNN_OPTIM)

}  // namespace fastnn::cuda
