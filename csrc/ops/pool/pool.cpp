#include "ops/pool/pool.h"
#include "backend/pool.h"

#include "ops/elementwise/copy.h"
#include "ops/support.h"

namespace fastnn {
namespace {

// Windows along one side: PyTorch's formula, in sums that cannot overflow.
int64_t windows(const char* op, const char* side, int64_t size, int64_t kernel, int64_t stride, int64_t pad,
                int64_t dilation, bool ceil) {
  int64_t reach, padded, rounded;
  const bool fits = checked_mul(dilation, kernel - 1, &reach) && checked_mul(2, pad, &padded) &&
                    checked_add(padded, size, &padded) && checked_add(padded, stride, &rounded);
  // Rounded up, the last window may reach beyond the padding, also where there is no other.
  const int64_t room = fits ? padded - reach - 1 + (ceil ? stride - 1 : 0) : -1;
  int64_t n = room >= 0 ? room / stride + 1 : 0;
  if (ceil && n > 0 && (n - 1) * stride >= size + pad)
    --n;  // the last window must begin inside the image or its left padding
  check_value(n > 0, op, ": a kernel of ", kernel, " (dilation ", dilation, ") does not fit the ", side,
              " of ", size, " with padding ", pad);
  return n;
}

// Every window must hold a pixel: an image may have none, and with dilation taps can step over a small one.
void check_covered(const char* op, int64_t n, int64_t size, int64_t kernel, int64_t stride, int64_t pad,
                   int64_t dilation) {
  for (int64_t i = 0; (dilation > 1 || size == 0) && i < n; ++i) {
    const int64_t origin = i * stride - pad;
    const int64_t first = origin < 0 ? (-origin + dilation - 1) / dilation : 0;
    check_value(first < kernel && origin + first * dilation < size, op, ": window ", i,
                " holds nothing but padding (kernel ", kernel, ", dilation ", dilation, ", padding ", pad,
                ", image side ", size, ")");
  }
}

void check_options(const char* op, const PoolOptions& o) {
  check_value(o.kernel.h > 0 && o.kernel.w > 0, op, ": kernel_size must be positive, got ", o.kernel);
  check_value(o.stride.h > 0 && o.stride.w > 0, op, ": stride must be positive, got ", o.stride);
  check_value(o.dilation.h > 0 && o.dilation.w > 0, op, ": dilation must be positive, got ", o.dilation);
  check_value(
      o.padding.h >= 0 && o.padding.w >= 0 && o.padding.h <= o.kernel.h / 2 && o.padding.w <= o.kernel.w / 2,
      op, ": padding must be between 0 and half of kernel_size ", o.kernel, ", got ", o.padding);
  int64_t taps;
  check_value(checked_mul(o.kernel.h, o.kernel.w, &taps) && taps < (int64_t{1} << 31), op, ": kernel_size ",
              o.kernel, " is too large");
}

// What a pooling does, without its tensors.
struct Geometry {
  PoolParams p{};
  Dims x_shape, y_shape;
  bool ceil_mode = false;
};

void announce(OpScope& scope, const Geometry& g) {
  const PoolParams& p = g.p;
  scope.with("kernel_size", Pair{p.kernel_h, p.kernel_w});
  scope.with("stride", Pair{p.stride_h, p.stride_w});
  scope.with("padding", Pair{p.pad_h, p.pad_w});
  scope.with("ceil_mode", g.ceil_mode);
}
void announce_max(OpScope& scope, const Geometry& g) {
  announce(scope, g);
  scope.with("dilation", Pair{g.p.dilation_h, g.p.dilation_w});
}
void announce_average(OpScope& scope, const Geometry& g) {
  announce(scope, g);
  scope.with("count_include_pad", g.p.count_include_pad);
}

Geometry geometry(const char* op, const Tensor& x, const PoolOptions& o) {
  check_defined(op, "input", x);
  check_floating(op, "input", x);
  check_value(x.dim() == 3 || x.dim() == 4, op, ": input must be (N, C, H, W) or (C, H, W), got shape ",
              x.shape());
  check_options(op, o);
  Geometry g;
  PoolParams& p = g.p;
  p.h = x.size(x.dim() - 2), p.w = x.size(x.dim() - 1);
  p.planes = x.size(0) * (x.dim() == 4 ? x.size(1) : 1);
  p.kernel_h = o.kernel.h, p.kernel_w = o.kernel.w;
  p.stride_h = o.stride.h, p.stride_w = o.stride.w;
  p.pad_h = o.padding.h, p.pad_w = o.padding.w;
  p.dilation_h = o.dilation.h, p.dilation_w = o.dilation.w;
  p.count_include_pad = o.count_include_pad;
  p.index_bytes = p.kernel_h * p.kernel_w <= 256 ? 1 : 4;
  p.p = windows(op, "height", p.h, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h, o.ceil_mode);
  p.q = windows(op, "width", p.w, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w, o.ceil_mode);
  check_covered(op, p.p, p.h, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h);
  check_covered(op, p.q, p.w, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w);
  g.x_shape = g.y_shape = x.shape();
  g.y_shape[x.dim() - 2] = p.p, g.y_shape[x.dim() - 1] = p.q;
  g.ceil_mode = o.ceil_mode;
  return g;
}

template <auto Row>
Tensor run(const char* op, PoolPass pass, const Tensor& x, const Dims& shape, const Geometry& g,
           const Tensor& index) {
  const Tensor dense = contiguous(x);
  Tensor y = empty(op, shape, x.dtype(), x.device());
  PoolParams p = g.p;
  p.pass = pass, p.x = dense.data(), p.y = y.data(), p.index = index.defined() ? index.data() : nullptr;
  if (p.planes > 0) launch<Row>(op, x, p);
  return y;
}

// For given positions of the maxima, taking them and putting gradients back are linear and adjoint to each
// other.
Tensor take_maxima(const Tensor& x, const Geometry& g, const Tensor& index);
Tensor put_maxima(const Tensor& dy, const Geometry& g, const Tensor& index) {
  OpScope scope("max_unpool2d", dy, index);
  announce_max(scope, g);
  Tensor dx;
  {
    GradMode off(false);
    dx = run<&PoolTable::max_pool2d_backward>("max_pool2d", PoolPass::backward, dy, g.x_shape, g, index);
  }
  if (wants_grad(dy))
    record("max_unpool2d", dx, {dy}, [g, index](Backward& b) { b.set(0, take_maxima(b.dy(), g, index)); });
  return scope.returns(std::move(dx));
}
Tensor take_maxima(const Tensor& x, const Geometry& g, const Tensor& index) {
  OpScope scope("max_pool2d", x, index);
  announce_max(scope, g);
  Tensor y;
  {
    GradMode off(false);
    y = run<&PoolTable::max_pool2d_gather>("max_pool2d", PoolPass::gather, x, g.y_shape, g, index);
  }
  if (wants_grad(x))
    record("max_pool2d", y, {x}, [g, index](Backward& b) { b.set(0, put_maxima(b.dy(), g, index)); });
  return scope.returns(std::move(y));
}

Tensor average(const Tensor& x, const Geometry& g);
Tensor spread(const Tensor& dy, const Geometry& g) {
  OpScope scope("avg_unpool2d", dy);
  announce_average(scope, g);
  Tensor dx;
  {
    GradMode off(false);
    dx = run<&PoolTable::avg_pool2d_backward>("avg_pool2d", PoolPass::backward, dy, g.x_shape, g, {});
  }
  if (wants_grad(dy)) record("avg_unpool2d", dx, {dy}, [g](Backward& b) { b.set(0, average(b.dy(), g)); });
  return scope.returns(std::move(dx));
}
Tensor average(const Tensor& x, const Geometry& g) {
  OpScope scope("avg_pool2d", x);
  announce_average(scope, g);
  Tensor y;
  {
    GradMode off(false);
    y = run<&PoolTable::avg_pool2d>("avg_pool2d", PoolPass::forward, x, g.y_shape, g, {});
  }
  if (wants_grad(x)) record("avg_pool2d", y, {x}, [g](Backward& b) { b.set(0, spread(b.dy(), g)); });
  return scope.returns(std::move(y));
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const PoolOptions& options) {
  const Geometry g = geometry("max_pool2d", x, options);
  OpScope scope("max_pool2d", x);
  announce_max(scope, g);
  const DType position = g.p.index_bytes == 1 ? DType::uint8 : DType::int32;
  const Tensor index = wants_grad(x) ? empty("max_pool2d", g.y_shape, position, x.device()) : Tensor();
  Tensor y;
  {
    GradMode off(false);
    y = run<&PoolTable::max_pool2d>("max_pool2d", PoolPass::forward, x, g.y_shape, g, index);
  }
  if (wants_grad(x))
    record("max_pool2d", y, {x}, [g, index](Backward& b) { b.set(0, put_maxima(b.dy(), g, index)); });
  return scope.returns(std::move(y));
}

Tensor avg_pool2d(const Tensor& x, const PoolOptions& options) {
  return average(x, geometry("avg_pool2d", x, options));
}

}  // namespace fastnn
