// The list of elementwise ops, made from the rows.
#include <string.h>

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
  return gradient<R, k, Value>(values, p).tensor();
}

template <class R, int k>
constexpr ElementwiseOp::Gradient gradient_of() {
  if constexpr (kDifferentiable<R> && k < kArity<R>)
    return {.fused = kFused<R, k>, .uses = probe_gradient<R, k>().uses, .composed = composed<R, k>};
  else
    return {};
}

template <class R>
constexpr ElementwiseOp op_of() {
  static_assert(std::is_empty_v<typename R::Parameters> ||
                sizeof(typename R::Parameters) % sizeof(double) == 0);
  return {.row = &R::row,
          .id = kRowId<R>,
          .arity = kArity<R>,
          .gradient = {gradient_of<R, 0>(), gradient_of<R, 1>()}};
}

#define FASTNN_OP(Name, function) op_of<rows::Name>(),
constexpr ElementwiseOp kOps[] = {FASTNN_ROWS(FASTNN_OP, FASTNN_OP)};

}  // namespace

std::span<const ElementwiseOp> elementwise_ops() { return kOps; }

}  // namespace fastnn
