// Kernels of the elementwise ops that are rows (backend/elementwise): FASTNN_ROW_KERNELS instantiates a
// group.
#pragma once
#include "backend/elementwise.h"
#include "cuda/common/loops.cuh"
#include "cuda/elementwise/normal.cuh"

namespace fastnn::cuda {

// What a formula sees of an element: a bool is the byte 0 or 1.
template <class T>
using Lane = Stored<T>;

template <class R>
struct Forward {
  typename R::Parameters p;
  template <class... W>
  __device__ auto operator()(W... x) const {
    return R::forward(x..., p);
  }
};

// The inputs are those of {dy, operands, output} that the formula reads.
template <class R, int k>
struct Gradient {
  typename R::Parameters p;
  template <class W, class... More>
  __device__ W operator()(W first, More... more) const {
    constexpr int all = kArity<R> + 2;
    constexpr unsigned uses = probe_gradient<R, k>().uses;
    const W given[] = {first, more...};
    W of[all] = {};
#pragma unroll
    for (int i = 0, next = 0; i < all; ++i)
      if ((uses >> i & 1) != 0) of[i] = given[next++];
    return gradient<R, k>(of, p);
  }
};

// A comparison gives bools; logic on bools gives their bytes.
template <class R>
constexpr bool kCompares = R::row.result == Result::boolean && R::row.dtypes != BOOLS;

template <class Parameters>
Parameters parameters_of(const ElementwiseParams& p) {
  Parameters parameters;
  if constexpr (!std::is_empty_v<Parameters>)
    memcpy(static_cast<void*>(&parameters), p.parameters, sizeof parameters);
  return parameters;
}
template <int N>
Loop<N> loop_of(const ElementwiseParams& p) {
  Loop<N> loop;
  loop.ndim = p.loop.ndim, loop.numel = p.loop.numel;
  for (int d = 0; d < loop.ndim; ++d) {
    loop.shape[d] = p.loop.shape[d];
    for (int k = 0; k < N; ++k) loop.stride[k][d] = p.loop.stride[k][d];
  }
  return loop;
}
template <int N>
Operands<N> operands_of(const ElementwiseParams& p) {
  Operands<N> operands{.at = {}, .immediate = p.numbers, .number = 0};
  for (int k = 0; k < N; ++k)
    if ((p.numbers >> k & 1) != 0)
      operands.number = p.operand[k].bits;
    else
      operands.at[k] = p.operand[k].pointer;
  return operands;
}

// The kernel of f over inputs In that writes Out.
template <class Out, class... In, class F>
Status map(Context& ctx, const ElementwiseParams& p, const F& f) {
  constexpr int N = 1 + sizeof...(In);
  return map<Out, In...>(ctx, loop_of<N>(p), operands_of<N>(p), f);
}

template <class R, class T>
Status forward_kernel(Context& ctx, const ElementwiseParams& p) {
  using Out = std::conditional_t<kCompares<R>, bool, Lane<T>>;
  const Forward<R> f{parameters_of<typename R::Parameters>(p)};
  if constexpr (kArity<R> == 1)
    return map<Out, Lane<T>>(ctx, p, f);
  else
    return map<Out, Lane<T>, Lane<T>>(ctx, p, f);
}
template <class R, int k, class T>
Status gradient_kernel(Context& ctx, const ElementwiseParams& p) {
  constexpr int inputs = count_bits(probe_gradient<R, k>().uses);
  const Gradient<R, k> f{parameters_of<typename R::Parameters>(p)};
  if constexpr (inputs == 1)
    return map<T, T>(ctx, p, f);
  else if constexpr (inputs == 2)
    return map<T, T, T>(ctx, p, f);
  else if constexpr (inputs == 3)
    return map<T, T, T, T>(ctx, p, f);
  else
    return map<T, T, T, T, T>(ctx, p, f);
}

// Gradients in float64 are composed of other ops' kernels: a kernel of each would cost more in the library
// than anybody gains who computes in double on a GPU.
template <class R>
void enter_row(ElementwiseTable& table) {
  constexpr int id = kRowId<R>;
  fill_row<R::row.dtypes>(
      table.forward[id], []<class T>() -> KernelRow<ElementwiseParams>::Fn { return &forward_kernel<R, T>; });
  const auto enter_gradient = [&]<int k>() {
    if constexpr (kFused<R, k>)
      table.gradient[id][k].fn[static_cast<int>(DType::float32)] = &gradient_kernel<R, k, float>;
  };
  enter_gradient.template operator()<0>();
  if constexpr (kArity<R> == 2) enter_gradient.template operator()<1>();
}

#define FASTNN_ENTER_ROW(Name, function) enter_row<rows::Name>(table);
#define FASTNN_ROW_KERNELS(group, ROWS) \
  void enter_##group(ElementwiseTable& table) { ROWS(FASTNN_ENTER_ROW, FASTNN_ENTER_ROW) }

}  // namespace fastnn::cuda
