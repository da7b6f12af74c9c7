#include "ops/elementwise/activation.h"
#include "backend/elementwise.h"

#include "ops/elementwise/elementwise.h"
#include "ops/support.h"

namespace fastnn {
namespace {

// y = f(x) whose derivative is a function of y: `fused` is the kernel dx = f'(y) dy, `composite` the same of
// differentiable ops, for gradients of gradients.
template <auto Forward, auto Fused, class Composite>
Tensor activation(const char* op, const Tensor& x, Composite composite) {
  check_defined(op, "input", x);
  check_floating(op, "input", x);
  Tensor y = run_unary<Forward>(op, x);
  if (wants_grad(x))
    record(op, y, {x}, [op, composite, y = save_output(y)](Backward& g) {
      const Tensor out = g.get(y);
      g.set(0, grad_enabled() ? composite(g.dy(), out) : run_unary_grad<Fused>(op, g.dy(), out));
    });
  return y;
}

// The same of a function whose derivative is one of x.
template <auto Forward, auto Fused, class Composite>
Tensor activation_of_input(const char* op, const Tensor& x, Composite composite) {
  Tensor y = run_unary<Forward>(op, x);
  if (wants_grad(x))
    record(op, y, {x}, [op, composite, x = save(x)](Backward& g) {
      const Tensor in = g.get(x);
      g.set(0, grad_enabled() ? composite(g.dy(), in) : run_unary_grad<Fused>(op, g.dy(), in));
    });
  return y;
}

// P(X <= x) + x times the density at x
Tensor gelu_gradient(const Tensor& dy, const Tensor& x) {
  const Tensor below = mul(add(erf(mul(x, scalar(0.7071067811865476))), scalar(1.0)), scalar(0.5));
  const Tensor density = mul(exp(mul(mul(x, x), scalar(-0.5))), scalar(0.3989422804014327));
  return mul(dy, add(below, mul(x, density)));
}
// s + x s (1 - s) 2 u', s = sigmoid(2 u)
Tensor gelu_tanh_gradient(const Tensor& dy, const Tensor& x) {
  const Tensor slope = scalar(1.5957691216057308), square = mul(x, x);
  const Tensor s = sigmoid(mul(x, add(mul(square, scalar(0.07135481627260025)), slope)));
  const Tensor inner = mul(x, add(mul(square, scalar(3 * 0.07135481627260025)), slope));
  return mul(dy, add(s, mul(mul(s, sub(scalar(1.0), s)), inner)));
}

}  // namespace

Tensor relu(const Tensor& x) {
  return activation<&ElementwiseTable::relu, &ElementwiseTable::relu_backward>(
      "relu", x,
      [](const Tensor& dy, const Tensor& y) { return where(le(y, scalar(0.0)), scalar(0.0), dy); });
}

Tensor sigmoid(const Tensor& x) {
  return activation<&ElementwiseTable::sigmoid, &ElementwiseTable::sigmoid_backward>(
      "sigmoid", x, [](const Tensor& dy, const Tensor& y) { return mul(dy, mul(y, sub(scalar(1.0), y))); });
}

Tensor tanh(const Tensor& x) {
  return activation<&ElementwiseTable::tanh, &ElementwiseTable::tanh_backward>(
      "tanh", x, [](const Tensor& dy, const Tensor& y) { return mul(dy, sub(scalar(1.0), mul(y, y))); });
}

Tensor gelu(const Tensor& x, bool approximate) {
  check_defined("gelu", "input", x);
  check_floating("gelu", "input", x);
  return approximate
             ? activation_of_input<&ElementwiseTable::gelu_tanh, &ElementwiseTable::gelu_tanh_backward>(
                   "gelu", x, gelu_tanh_gradient)
             : activation_of_input<&ElementwiseTable::gelu, &ElementwiseTable::gelu_backward>("gelu", x,
                                                                                              gelu_gradient);
}

}  // namespace fastnn
