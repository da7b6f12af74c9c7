// a ** b by a number: a square, a root or a quotient where it is one.
#include "core/trace.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"

namespace fastnn {

Tensor power(const Operand& a, const Operand& b) {
  if (b.is_number() && !a.is_number()) {
    const double e = b.number().as_double();
    if (e != 2 && e != 1 && e != 0.5 && e != -1) return pow(a, b);
    OpScope scope("pow", a, b);
    auto base = [&] {
      const DType dtype = a.tensor().dtype();
      return is_floating(dtype) ? a.tensor() : cast(a.tensor(), DType::float32);
    };
    if (e == 2) {
      const Tensor x = base();
      return scope.returns(mul(x, x));
    }
    return scope.returns(e == 1 ? clone(base()) : e == 0.5 ? sqrt(base()) : div(1.0, base()));
  }
  return pow(a, b);
}

Tensor power_(const Tensor& x, const Operand& b) {
  if (b.is_number() && x.defined() && is_floating(x.dtype())) {
    const double e = b.number().as_double();
    if (e == 2) return binary_(elementwise_ops()[kRowId<rows::Mul>], x, x, nullptr);
    if (e == 0.5) return unary_(elementwise_ops()[kRowId<rows::Sqrt>], x, nullptr);
  }
  return binary_(elementwise_ops()[kRowId<rows::Pow>], x, b, nullptr);
}

}  // namespace fastnn
