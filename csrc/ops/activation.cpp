#include "activation.h"

#include "elementwise.h"
#include "support.h"

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

}  // namespace

Tensor relu(const Tensor& x) {
  return activation<&KernelTable::relu, &KernelTable::relu_backward>(
      "relu", x,
      [](const Tensor& dy, const Tensor& y) { return where(le(y, scalar(0.0)), scalar(0.0), dy); });
}

Tensor sigmoid(const Tensor& x) {
  return activation<&KernelTable::sigmoid, &KernelTable::sigmoid_backward>(
      "sigmoid", x, [](const Tensor& dy, const Tensor& y) { return mul(dy, mul(y, sub(scalar(1.0), y))); });
}

Tensor tanh(const Tensor& x) {
  return activation<&KernelTable::tanh, &KernelTable::tanh_backward>(
      "tanh", x, [](const Tensor& dy, const Tensor& y) { return mul(dy, sub(scalar(1.0), mul(y, y))); });
}

}  // namespace fastnn
