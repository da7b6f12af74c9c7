// Kernels of the elementwise ops that are rows (backend/elementwise): FASTNN_ROW_KERNELS instantiates a
// group.
#pragma once
#include "backend/elementwise.h"
#include "cpu/elementwise/loops.h"
#include "cpu/simd/math_normal.h"

namespace fastnn::FASTNN_ISA {

// What a formula sees of an element: a bool is the byte 0 or 1.
template <class T>
struct lane_of {
  using type = T;
};
template <>
struct lane_of<bool> {
  using type = uint8_t;
};
template <class T>
using Lane = typename lane_of<T>::type;

template <class R>
struct Forward {
  using Parameters = typename R::Parameters;
  static constexpr int inputs = kArity<R>;
  template <int, class T>
  using Input = T;
  template <class... V>
  static FASTNN_INLINE auto call(const Parameters& p, V... x) {
    return R::forward(x..., p);
  }
};

// The inputs are those of {dy, operands, output} that the formula reads.
template <class R, int k>
struct Gradient {
  using Parameters = typename R::Parameters;
  static constexpr unsigned uses = probe_gradient<R, k>().uses;
  static constexpr int inputs = count_bits(uses);
  template <int, class T>
  using Input = T;
  template <class V, class... More>
  static FASTNN_INLINE V call(const Parameters& p, V first, More... more) {
    constexpr int all = kArity<R> + 2;
    const V given[] = {first, more...};
    V of[all] = {};
    for (int i = 0, next = 0; i < all; ++i)
      if (uses >> i & 1) of[i] = given[next++];
    return gradient<R, k>(of, p);
  }
};

// A comparison's result is a mask, to be stored as bools; logic on bools gives their bytes.
template <class R>
constexpr bool kCompares = R::row.result == Result::boolean && R::row.dtypes != BOOLS;

template <class R, class T>
Status forward_kernel(Context& ctx, const ElementwiseParams& p) {
  using Out = std::conditional_t<kCompares<R>, bool, Lane<T>>;
  return map<Forward<R>, Lane<T>, Out>(ctx, p);
}
template <class R, int k, class T>
Status gradient_kernel(Context& ctx, const ElementwiseParams& p) {
  return map<Gradient<R, k>, T, T>(ctx, p);
}

template <class R>
void enter_row(ElementwiseTable& table) {
  constexpr int id = kRowId<R>;
  fill_row<R::row.dtypes>(
      table.forward[id], []<class T>() -> KernelRow<ElementwiseParams>::Fn { return &forward_kernel<R, T>; });
  auto enter_gradient = [&]<int k>() {
    if constexpr (kFused<R, k>)
      fill_row<FLOATS>(table.gradient[id][k], []<class T>() -> KernelRow<ElementwiseParams>::Fn {
        return &gradient_kernel<R, k, T>;
      });
  };
  enter_gradient.template operator()<0>();
  if constexpr (kArity<R> == 2) enter_gradient.template operator()<1>();
}

#define FASTNN_ENTER_ROW(Name, function) enter_row<rows::Name>(table);
#define FASTNN_ROW_KERNELS(group, ROWS) \
  void enter_##group(ElementwiseTable& table) { ROWS(FASTNN_ENTER_ROW, FASTNN_ENTER_ROW) }

}  // namespace fastnn::FASTNN_ISA
