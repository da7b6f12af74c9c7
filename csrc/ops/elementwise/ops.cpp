// The list of elementwise ops, made from the rows.
#include <string.h>

#include <array>
#include <bit>

#include "ops/elementwise/copy.h"
#include "ops/elementwise/value.h"

namespace fastnn {
namespace {

template <class R, int k>
Tensor composed(const Operand* of, const double* parameters) {
  typename R::Parameters p;
  if constexpr (!std::is_empty_v<typename R::Parameters>)
    memcpy(static_cast<void*>(&p), parameters, sizeof p);
  Value values[kArity<R> + 2];
  for (int i = 0; i < kArity<R> + 2; ++i)
    if (probe_gradient<R, k>().uses >> i & 1) values[i] = of[i];
  const Value dx = gradient<R, k, Value>(values, p);
  if (!dx.is_number()) return dx.tensor();
  const Tensor& dy = of[0].tensor();
  return full(dy.shape(), scalar(dx.number()), dy.dtype(), dy.device());
}

template <class R, int k>
constexpr ElementwiseOp::Gradient gradient_of() {
  if constexpr (kDifferentiable<R> && k < kArity<R>)
    return {.fused = kFused<R, k>,
            .uses = probe_gradient<R, k>().uses,
            .operations = probe_gradient<R, k>().operations,
            .composed = composed<R, k>};
  else
    return {};
}

// Whether the row names each member of its Parameters, with the same default.
template <class R>
constexpr bool says_its_parameters() {
  using P = typename R::Parameters;
  constexpr size_t named = [] {
    size_t n = 0;
    while (n < kMaxParameters && R::row.parameters[n].name) ++n;
    return n;
  }();
  if constexpr (std::is_empty_v<P>) {
    return named == 0;
  } else if constexpr (sizeof(P) == named * sizeof(double)) {
    const auto values = std::bit_cast<std::array<double, named>>(P{});
    for (size_t i = 0; i < named; ++i)
      if (values[i] != R::row.parameters[i].value) return false;
    return true;
  }
  return false;
}

template <class R>
constexpr ElementwiseOp op_of() {
  static_assert(says_its_parameters<R>(), "Row::parameters and Parameters differ, in number or in a default");
  return {.row = &R::row,
          .id = kRowId<R>,
          .arity = kArity<R>,
          .operations = kOperations<R>,
          .gradient = {gradient_of<R, 0>(), gradient_of<R, 1>()}};
}

#define FASTNN_OP(Name, function) op_of<rows::Name>(),
constexpr ElementwiseOp kOps[] = {FASTNN_ROWS(FASTNN_OP, FASTNN_OP)};

}  // namespace

std::span<const ElementwiseOp> elementwise_ops() { return kOps; }

}  // namespace fastnn
