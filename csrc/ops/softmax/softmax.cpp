#include "ops/softmax/softmax.h"
#include "backend/softmax.h"

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"

namespace fastnn {

namespace {

SoftmaxParams params(const Tensor& x, int dim) {
  SoftmaxParams p{};
  p.outer = p.inner = 1;
  p.size = x.dim() > 0 ? x.size(dim) : 1;
  for (int i = 0; i < dim; ++i) p.outer *= x.size(i);
  for (int i = dim + 1; i < x.dim(); ++i) p.inner *= x.size(i);
  return p;
}

template <auto Row>
Tensor run(const char* op, const Tensor& x, int dim) {
  const Tensor dense = contiguous(x);
  Tensor y = empty(op, x.shape(), x.dtype(), x.device());
  SoftmaxParams p = params(x, dim);
  p.y = y.data(), p.x = dense.data();
  if (x.numel() > 0) launch<Row>(op, x, p);
  return y;
}
template <auto Row>
Tensor run_grad(const char* op, const Tensor& y, const Tensor& dy, int dim) {
  const Tensor dense = contiguous(dy);
  Tensor dx = empty(op, y.shape(), y.dtype(), y.device());
  SoftmaxParams p = params(y, dim);
  p.y = dx.data(), p.x = y.data(), p.dy = dense.data();
  if (y.numel() > 0) launch<Row>(op, y, p);
  return dx;
}

int checked_dim(const char* op, const Tensor& x, int64_t dim) {
  check_defined(op, "input", x);
  check_floating(op, "input", x);
  return wrap_dim(op, dim, x.dim());
}

}  // namespace

// dx = y (dy - sum dy y)
Tensor softmax(const Tensor& x, int64_t along) {
  const int dim = checked_dim("softmax", x, along);
  OpScope scope("softmax", x);
  scope.with("dim", along);
  Tensor y;
  {
    GradMode off(false);
    y = run<&SoftmaxTable::softmax>("softmax", x, dim);
  }
  if (wants_grad(x))
    record("softmax", y, {x}, [y = save_output(y), dim](Backward& g) {
      const Tensor y_ = g.get(y);
      if (!grad_enabled())
        return g.set(0, run_grad<&SoftmaxTable::softmax_backward>("softmax", y_, g.dy(), dim));
      g.set(0, mul(y_, sub(g.dy(), sum(mul(g.dy(), y_), Dims{dim}, true))));
    });
  return scope.returns(std::move(y));
}

// dx = dy - e^y sum dy
Tensor log_softmax(const Tensor& x, int64_t along) {
  const int dim = checked_dim("log_softmax", x, along);
  OpScope scope("log_softmax", x);
  scope.with("dim", along);
  Tensor y;
  {
    GradMode off(false);
    y = run<&SoftmaxTable::log_softmax>("log_softmax", x, dim);
  }
  if (wants_grad(x))
    record("log_softmax", y, {x}, [y = save_output(y), dim](Backward& g) {
      const Tensor y_ = g.get(y);
      if (!grad_enabled())
        return g.set(0, run_grad<&SoftmaxTable::log_softmax_backward>("log_softmax", y_, g.dy(), dim));
      g.set(0, sub(g.dy(), mul(exp(y_), sum(g.dy(), Dims{dim}, true))));
    });
  return scope.returns(std::move(y));
}

}  // namespace fastnn
