#include "ops/elementwise/copy.h"
#include "backend/elementwise.h"

#include <cmath>
#include <cstdlib>

#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {

static void copy(const Tensor& dst, const Tensor& source, bool fresh) {
  const Tensor src = beside("copy", source, dst);
  const Loop<2> loop = make_loop<2>(dst.shape(), {dst.strides(), broadcast_strides(src, dst.shape())});
  launch<&ElementwiseTable::cast>("copy", src, CastParams{dst.data(), src.data(), dst.dtype(), loop, fresh});
}
void copy_into(const Tensor& dst, const Tensor& source) { copy(dst, source, false); }

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  if (x.impl()->weak && !is_floating(dtype) && x.device().type == DeviceType::cpu)
    check_fits(number_of(x), dtype);
  OpScope scope("to", x);
  scope.with("dtype", dtype);
  Tensor y = empty_like(x, dtype);
  copy(y, x, true);
  if (wants_grad(x) && is_floating(dtype))
    record("to", y, {x}, [from = x.dtype()](Backward& g) { g.set(0, cast(g.dy(), from)); });
  return scope.returns(std::move(y));
}

static Tensor copy_as(const char* op, const Tensor& x, Tensor y) {
  OpScope scope(op, x);
  copy(y, x, true);
  if (wants_grad(x)) record(op, y, {x}, [](Backward& g) { g.set(0, g.dy()); });
  return scope.returns(std::move(y));
}

Tensor contiguous(const Tensor& x) {
  if (x.is_contiguous()) return x;
  return copy_as("contiguous", x, empty("contiguous", x.shape(), x.dtype(), x.device()));
}

Tensor clone(const Tensor& x) { return copy_as("clone", x, empty_like(x)); }

Tensor copy_(const Tensor& x, const Tensor& source) {
  check_value(broadcast_shapes("copy_", x.shape(), source.shape()) == x.shape(), "copy_: a value of shape ",
              source.shape(), " does not broadcast into a tensor of shape ", x.shape());
  OpScope scope("copy_", x, source);
  // Overlapping memory (x[1:] = x[:-1]): copy what would be overwritten first.
  const bool shared = may_overlap(source, x);
  const Tensor src = cast(to_device(shared ? clone(source) : source, x.device()), x.dtype());
  const bool recorded = wants_grad(x, src);
  before_in_place("copy_", x, recorded);
  copy_into(x, src);
  x.bump_version();
  if (recorded)
    record("copy_", x, {src}, [shape = src.shape()](Backward& g) { g.set(0, sum_to(g.dy(), shape)); });
  return scope.returns(x);
}

static void fill(const Tensor& x, double value, int64_t integer, bool fresh) {
  launch<&ElementwiseTable::fill>(
      "fill", x, FillParams{x.data(), value, integer, make_loop<1>(x.shape(), {x.strides()}), fresh});
}

static void fill(const Tensor& x, const Tensor& value, bool fresh) {
  const Tensor host = to_device(value, Device{});
  if (host.impl()->weak) check_fits(number_of(host), x.dtype());
  if (is_floating(x.dtype()))
    fill(x, *cast(host, DType::float64).data<double>(), 0, fresh);
  else if (x.dtype() == DType::boolean)
    fill(x, 0, *cast(host, DType::boolean).data<bool>(), fresh);
  else
    fill(x, 0, *cast(host, DType::int64).data<int64_t>(), fresh);
}

Tensor fill_(const Tensor& x, const Tensor& value) {
  check_value(value.numel() == 1, "fill_: the value must be a single element, got shape ", value.shape());
  OpScope scope("fill_", x, value);
  if (wants_grad(value)) return scope.returns(copy_(x, reshape(value, {})));
  const bool recorded = wants_grad(x);
  before_in_place("fill_", x, recorded);
  fill(x, value, false);
  x.bump_version();
  if (recorded) forget_history(x);
  return scope.returns(x);
}

Tensor as_layout(const Tensor& x, unsigned allowed) {
  if ((allowed & kRowMajor) && x.is_contiguous()) return x;
  const int n = x.dim();
  if (n >= 2) {
    Dims shape = x.shape(), strides = x.strides();
    std::swap(shape[n - 1], shape[n - 2]);
    std::swap(strides[n - 1], strides[n - 2]);
    if ((allowed & kTransposed) && alias(x, shape, strides, x.impl()->offset).is_contiguous()) return x;
    if (allowed & kLeadingStride) {
      const bool rows = x.strides()[n - 1] == 1 && x.strides()[n - 2] >= x.size(n - 1);
      const bool columns = x.strides()[n - 2] == 1 && x.strides()[n - 1] >= x.size(n - 2);
      if (rows || columns) return x;
    }
    // Columns that are closer in memory than rows stay so: the kernel then sums in the order it has for them.
    if ((allowed & kTransposed) && std::abs(x.strides()[n - 2]) < std::abs(x.strides()[n - 1]))
      return transpose(contiguous(transpose(x, -2, -1)), -2, -1);
  }
  return contiguous(x);
}

static void announce(OpScope& scope, const Dims& shape, DType dtype, Device device) {
  scope.with("shape", shape);
  scope.with("dtype", dtype);
  scope.with("device", device);
}

Tensor new_empty(const Dims& shape, DType dtype, Device device) {
  OpScope scope("empty");
  announce(scope, shape, dtype, device);
  return scope.returns(empty("empty", shape, dtype, device));
}

Tensor zeros(const Dims& shape, DType dtype, Device device) {
  OpScope scope("zeros");
  announce(scope, shape, dtype, device);
  Tensor y = empty("zeros", shape, dtype, device);
  fill(y, 0, 0, true);
  return scope.returns(std::move(y));
}

Tensor full(const Dims& shape, const Tensor& value, DType dtype, Device device) {
  OpScope scope("full", value);
  announce(scope, shape, dtype, device);
  Tensor y = empty("full", shape, dtype, device);
  fill_(y, value);
  return scope.returns(std::move(y));
}

Tensor new_empty_like(const Tensor& x) {
  OpScope scope("empty_like", x);
  return scope.returns(empty_like(x));
}

static Tensor filled_like(const char* op, const Tensor& x, int value) {
  OpScope scope(op, x);
  Tensor y = empty_like(x);
  fill(y, value, value, true);
  return scope.returns(std::move(y));
}
Tensor zeros_like(const Tensor& x) { return filled_like("zeros_like", x, 0); }
Tensor ones_like(const Tensor& x) { return filled_like("ones_like", x, 1); }

static Tensor arange(double count, ArangeParams p, const Operand& start, const Operand& end,
                     const Operand& step, DType dtype, Device device) {
  check_value(count < 281474976710656.0, "arange: ", count, " elements are too many");
  OpScope scope("arange");
  scope.with("start", start.number().as_double());
  scope.with("end", end.number().as_double());
  scope.with("step", step.number().as_double());
  scope.with("dtype", dtype);
  scope.with("device", device);
  Tensor y = empty("arange", {count > 0 ? static_cast<int64_t>(count) : 0}, dtype, device);
  p.y = y.data(), p.numel = y.numel();
  launch<&ElementwiseTable::arange>("arange", y, p);
  return scope.returns(std::move(y));
}

Tensor arange(double start, double end, double step, DType dtype, Device device) {
  check_value(step != 0 && std::isfinite(start) && std::isfinite(end) && std::isfinite(step),
              "arange: start, end and step must be finite and step not 0, got ", start, ", ", end, ", ",
              step);
  const double least = -0x1p63, limit = 0x1p63;
  check_value(is_floating(dtype) || (start >= least && start < limit && step >= least && step < limit),
              "arange: ", start, " and ", step, " do not fit ", dtype);
  const ArangeParams p{.y = nullptr,
                       .numel = 0,
                       .start = start,
                       .step = step,
                       .first = is_floating(dtype) ? 0 : static_cast<int64_t>(start),
                       .stride = is_floating(dtype) ? 0 : static_cast<int64_t>(step)};
  return arange(std::ceil((end - start) / step), p, start, end, step, dtype, device);
}

Tensor arange(const Operand& start, const Operand& end, const Operand& step, DType dtype, Device device) {
  for (const Operand* o : {&start, &end, &step}) {
    check_type(o->is_number(), "arange: start, end and step must be numbers");
    check_value(o->number().kind != Number::huge, "arange: an integer does not fit 64 bits");
  }
  const Number a = start.number(), b = end.number(), c = step.number();
  if (a.kind == Number::real || b.kind == Number::real || c.kind == Number::real)
    return arange(a.as_double(), b.as_double(), c.as_double(), dtype, device);
  // Integers count exactly; their distance takes 65 bits.
  check_value(c.whole != 0, "arange: step must not be 0");
  const __int128 apart = static_cast<__int128>(b.whole) - a.whole, by = c.whole;
  const __int128 count = apart / by + (apart % by != 0 && (apart < 0) == (by < 0));
  if (count > 0) {
    check_fits(a, dtype);
    check_fits(static_cast<int64_t>(a.whole + (count - 1) * by), dtype);
  }
  const ArangeParams p{.y = nullptr,
                       .numel = 0,
                       .start = a.as_double(),
                       .step = c.as_double(),
                       .first = a.whole,
                       .stride = c.whole};
  return arange(static_cast<double>(count), p, start, end, step, dtype, device);
}

}  // namespace fastnn
