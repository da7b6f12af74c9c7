#include "ops/elementwise/elementwise.h"
#include "backend/elementwise.h"

#include "ops/elementwise/copy.h"
#include "ops/support.h"

namespace fastnn {
namespace {

// out's strides: those of an operand that fills the output and is dense, so that memory order is kept.
Tensor empty_result(const char* op, const Dims& shape, DType dtype, const Tensor& a, const Tensor& b) {
  if (a.shape() == shape && a.dim() > 0) return empty_like(a, dtype);
  if (b.shape() == shape && b.dim() > 0) return empty_like(b, dtype);
  return empty(op, shape, dtype, a.device());
}

template <auto Row>
void run_binary(const char* op, const Tensor& out, const Tensor& a, const Tensor& b) {
  const Loop<3> loop = make_loop<3>(
      out.shape(), {out.strides(), broadcast_strides(a, out.shape()), broadcast_strides(b, out.shape())});
  launch<Row>(op, a, BinaryParams{out.data(), a.data(), b.data(), loop});
}

struct Operands {  // promoted to one dtype
  Tensor a, b;
};
Operands promoted(const char* op, const Tensor& a, const Tensor& b) {
  check_defined(op, "the first operand", a);
  check_defined(op, "the second operand", b);
  const DType dtype = result_type(a, b);
  if (a.device() == b.device()) [[likely]]
    return {cast(a, dtype), cast(b, dtype)};
  return {beside(op, cast(a, dtype), b.device().type == DeviceType::cpu ? a : b),
          beside(op, cast(b, dtype), a.device().type == DeviceType::cpu ? b : a)};
}
Operands promoted_to_float(const char* op, const Tensor& a, const Tensor& b) {
  Operands x = promoted(op, a, b);
  if (is_floating(x.a.dtype())) return x;
  return {cast(x.a, DType::float32), cast(x.b, DType::float32)};
}

template <auto Row>
Tensor binary(const char* op, const Operands& x) {
  Tensor out = empty_result(op, broadcast_shapes(op, x.a.shape(), x.b.shape()), x.a.dtype(), x.a, x.b);
  run_binary<Row>(op, out, x.a, x.b);
  return out;
}

template <auto Row>
Tensor compare(const char* op, const Tensor& a, const Tensor& b) {
  const Operands x = promoted(op, a, b);
  Tensor out = empty_result(op, broadcast_shapes(op, x.a.shape(), x.b.shape()), DType::boolean, x.a, x.b);
  run_binary<Row>(op, out, x.a, x.b);
  return out;
}

// ---- gradients of the arithmetic, shared by the in-place forms
// --------------------------------------------------------
void record_add(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  record(op, y, {a, b}, [sa = a.shape(), sb = b.shape()](Backward& g) {
    if (g.needs(0)) g.set(0, sum_to(g.dy(), sa));
    if (g.needs(1)) g.set(1, sum_to(g.dy(), sb));
  });
}
void record_sub(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  record(op, y, {a, b}, [sa = a.shape(), sb = b.shape()](Backward& g) {
    if (g.needs(0)) g.set(0, sum_to(g.dy(), sa));
    if (g.needs(1)) g.set(1, neg(sum_to(g.dy(), sb)));
  });
}
void record_mul(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  record(op, y, {a, b},
         [sa = a.shape(), sb = b.shape(), a = save_if(b.requires_grad(), a),
          b = save_if(a.requires_grad(), b)](Backward& g) {
           if (g.needs(0)) g.set(0, sum_to(mul(g.dy(), g.get(b)), sa));
           if (g.needs(1)) g.set(1, sum_to(mul(g.dy(), g.get(a)), sb));
         });
}
// d(a/b) = da / b - db a / b^2
void record_div(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  record(op, y, {a, b},
         [sa = a.shape(), sb = b.shape(), a = save_if(b.requires_grad(), a), b = save(b)](Backward& g) {
           const Tensor den = g.get(b);
           const Tensor da = div(g.dy(), den);
           if (g.needs(0)) g.set(0, sum_to(da, sa));
           if (g.needs(1)) g.set(1, neg(sum_to(mul(da, div(g.get(a), den)), sb)));
         });
}

using RecordBinary = void (*)(const char*, const Tensor&, const Tensor&, const Tensor&);

template <auto Row, RecordBinary Rec>
Tensor arithmetic(const char* op, const Operands& x) {
  Tensor y = binary<Row>(op, x);
  if (wants_grad(x.a, x.b)) Rec(op, y, x.a, x.b);
  return y;
}

template <auto Row, RecordBinary Rec>
Tensor in_place(const char* op, const Tensor& x, const Tensor& given) {
  check_defined(op, "the operand", given);
  const Tensor other = beside(op, given, x);
  const DType dtype = result_type(x, other);
  check_type(dtype == x.dtype(), op, ": the result is ", dtype, " and cannot be written into a tensor of ",
             x.dtype());
  check_value(broadcast_shapes(op, x.shape(), other.shape()) == x.shape(), op, ": an operand of shape ",
              other.shape(), " does not broadcast into a tensor of shape ", x.shape());
  // x[1:] += x[:-1], x += x.T: what the write changes before it is read is copied first. Also x *= x where it
  // is recorded, for x would be saved for its own gradient and hold itself alive.
  const bool shared = other.impl()->storage.get() == x.impl()->storage.get();
  const bool same = shared && other.impl()->offset == x.impl()->offset && other.shape() == x.shape() &&
                    other.strides() == x.strides() && !wants_grad(x, other);
  const Tensor b = cast(shared && !same ? clone(other) : other, dtype);
  const bool recorded = wants_grad(x, b);
  const Tensor before = before_in_place(op, x, recorded);
  if (recorded) Rec(op, x, before, b);  // what it saves of x goes stale with the write, and would say so
  run_binary<Row>(op, x, x, b);
  x.bump_version();
  return x;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return arithmetic<&ElementwiseTable::add, record_add>("add", promoted("add", a, b));
}
Tensor sub(const Tensor& a, const Tensor& b) {
  return arithmetic<&ElementwiseTable::sub, record_sub>("sub", promoted("sub", a, b));
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return arithmetic<&ElementwiseTable::mul, record_mul>("mul", promoted("mul", a, b));
}
Tensor div(const Tensor& a, const Tensor& b) {
  return arithmetic<&ElementwiseTable::div, record_div>("div", promoted_to_float("div", a, b));
}
Tensor add_(const Tensor& x, const Tensor& other) {
  return in_place<&ElementwiseTable::add, record_add>("add_", x, other);
}
Tensor sub_(const Tensor& x, const Tensor& other) {
  return in_place<&ElementwiseTable::sub, record_sub>("sub_", x, other);
}
Tensor mul_(const Tensor& x, const Tensor& other) {
  return in_place<&ElementwiseTable::mul, record_mul>("mul_", x, other);
}
Tensor div_(const Tensor& x, const Tensor& other) {
  return in_place<&ElementwiseTable::div, record_div>("div_", x, other);
}

void add_into(const Tensor& sum, const Tensor& term) {
  GradMode off(false);
  add_(sum, term);
}

Tensor accumulate(Tensor sum, const Tensor& term) {
  if (grad_enabled() || !sum.sole_owner() || !sum.is_dense()) return add(sum, term);
  add_into(sum, term);
  return sum;
}

// d(a^b) = b a^(b-1) da + a^b log(a) db, where the second is 0 at a = 0, b >= 0
Tensor pow(const Tensor& base, const Tensor& exponent) {
  const Operands x = promoted_to_float("pow", base, exponent);
  if (exponent.impl()->weak && exponent.device().type == DeviceType::cpu) {
    const double e = *cast(exponent, DType::float64).data<double>();
    if (e == 2) return mul(x.a, x.a);
    if (e == 1) return clone(x.a);
    if (e == 0.5) return sqrt(x.a);
    if (e == -1) return div(scalar(1.0), x.a);
  }
  Tensor y = binary<&ElementwiseTable::pow>("pow", x);
  if (wants_grad(x.a, x.b))
    record("pow", y, {x.a, x.b},
           [a = save(x.a), b = save(x.b), sa = x.a.shape(), sb = x.b.shape()](Backward& g) {
             const Tensor base = g.get(a), e = g.get(b);
             if (g.needs(0)) {
               const Tensor slope = mul(e, pow(base, sub(e, scalar(1.0))));
               g.set(0, sum_to(mul(g.dy(), where(eq(e, scalar(0.0)), scalar(0.0), slope)), sa));
             }
             if (g.needs(1)) {
               const Tensor flat = logical_and(eq(base, scalar(0.0)), ge(e, scalar(0.0)));
               const Tensor slope = mul(pow(base, e), log(where(flat, scalar(1.0), base)));
               g.set(1, sum_to(mul(g.dy(), where(flat, scalar(0.0), slope)), sb));
             }
           });
  return y;
}

namespace {
// At a tie each operand gets half, as in PyTorch.
template <auto Row>
Tensor extremum(const char* op, const Tensor& a, const Tensor& b, bool larger) {
  const Operands x = promoted(op, a, b);
  Tensor y = binary<Row>(op, x);
  if (wants_grad(x.a, x.b))
    record(op, y, {x.a, x.b},
           [a = save(x.a), b = save(x.b), sa = x.a.shape(), sb = x.b.shape(), larger](Backward& g) {
             const Tensor u = g.get(a), v = g.get(b);
             const Tensor half = mul(g.dy(), mul(cast(eq(u, v), g.dy().dtype()), scalar(0.5)));
             const Tensor first = cast(larger ? gt(u, v) : lt(u, v), g.dy().dtype());
             const Tensor second = cast(larger ? lt(u, v) : gt(u, v), g.dy().dtype());
             if (g.needs(0)) g.set(0, sum_to(add(mul(g.dy(), first), half), sa));
             if (g.needs(1)) g.set(1, sum_to(add(mul(g.dy(), second), half), sb));
           });
  return y;
}
}  // namespace

Tensor maximum(const Tensor& a, const Tensor& b) {
  return extremum<&ElementwiseTable::maximum>("maximum", a, b, true);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return extremum<&ElementwiseTable::minimum>("minimum", a, b, false);
}

// ---- functions of one operand
// -----------------------------------------------------------------------------------------
Tensor neg(const Tensor& x) {
  Tensor y = run_unary<&ElementwiseTable::neg>("neg", x);
  if (wants_grad(x)) record("neg", y, {x}, [](Backward& g) { g.set(0, neg(g.dy())); });
  return y;
}

Tensor abs(const Tensor& x) {
  Tensor y = run_unary<&ElementwiseTable::abs>("abs", x);
  if (wants_grad(x))
    record("abs", y, {x}, [x = save(x)](Backward& g) { g.set(0, mul(g.dy(), sign(g.get(x)))); });
  return y;
}

Tensor sign(const Tensor& x) {
  Tensor y = run_unary<&ElementwiseTable::sign>("sign", x);
  if (wants_grad(x)) record("sign", y, {x}, [](Backward& g) { g.set(0, mul(g.dy(), scalar(0.0))); });
  return y;
}

Tensor exp(const Tensor& x) {
  check_floating("exp", "input", x);
  Tensor y = run_unary<&ElementwiseTable::exp>("exp", x);
  if (wants_grad(x))
    record("exp", y, {x}, [y = save_output(y)](Backward& g) { g.set(0, mul(g.dy(), g.get(y))); });
  return y;
}

Tensor log(const Tensor& x) {
  check_floating("log", "input", x);
  Tensor y = run_unary<&ElementwiseTable::log>("log", x);
  if (wants_grad(x)) record("log", y, {x}, [x = save(x)](Backward& g) { g.set(0, div(g.dy(), g.get(x))); });
  return y;
}

Tensor sqrt(const Tensor& x) {
  check_floating("sqrt", "input", x);
  Tensor y = run_unary<&ElementwiseTable::sqrt>("sqrt", x);
  if (wants_grad(x))
    record("sqrt", y, {x},
           [y = save_output(y)](Backward& g) { g.set(0, div(g.dy(), mul(g.get(y), scalar(2.0)))); });
  return y;
}
Tensor erf(const Tensor& x) {
  check_floating("erf", "input", x);
  Tensor y = run_unary<&ElementwiseTable::erf>("erf", x);
  if (wants_grad(x))
    record("erf", y, {x}, [x = save(x)](Backward& g) {
      const Tensor x_ = g.get(x), slope = mul(exp(neg(mul(x_, x_))), scalar(1.1283791670955126));
      g.set(0, mul(g.dy(), slope));
    });
  return y;
}

// ---- comparisons, logic, choice
// ---------------------------------------------------------------------------------------
Tensor eq(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::eq>("eq", a, b); }
Tensor ne(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::ne>("ne", a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::lt>("lt", a, b); }
Tensor le(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::le>("le", a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::lt>("gt", b, a); }
Tensor ge(const Tensor& a, const Tensor& b) { return compare<&ElementwiseTable::le>("ge", b, a); }

Tensor logical_and(const Tensor& a, const Tensor& b) {
  return compare<&ElementwiseTable::logical_and>("logical_and", a, b);
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return compare<&ElementwiseTable::logical_or>("logical_or", a, b);
}
Tensor logical_not(const Tensor& x) { return run_unary<&ElementwiseTable::logical_not>("logical_not", x); }

Tensor where(const Tensor& given, const Tensor& first, const Tensor& second) {
  check_defined("where", "condition", given);
  check_type(given.dtype() == DType::boolean, "where: condition must be bool, got ", given.dtype());
  Operands x = promoted("where", first, second);
  const Tensor condition = x.a.dim() > 0 || x.b.dim() > 0 ? beside("where", given, x.a) : given;
  x.a = beside("where", x.a, condition), x.b = beside("where", x.b, condition);
  const Dims shape =
      broadcast_shapes("where", condition.shape(), broadcast_shapes("where", x.a.shape(), x.b.shape()));
  Tensor y = empty("where", shape, x.a.dtype(), x.a.device());
  launch<&ElementwiseTable::where>(
      "where", y,
      WhereParams{y.data(), condition.data<bool>(), x.a.data(), x.b.data(),
                  make_loop<4>(shape, {y.strides(), broadcast_strides(condition, shape),
                                       broadcast_strides(x.a, shape), broadcast_strides(x.b, shape)})});
  if (wants_grad(x.a, x.b))
    record("where", y, {x.a, x.b}, [c = save(condition), sa = x.a.shape(), sb = x.b.shape()](Backward& g) {
      const Tensor condition = g.get(c), zero = cast(scalar(0.0), g.dy().dtype());
      if (g.needs(0)) g.set(0, sum_to(where(condition, g.dy(), zero), sa));
      if (g.needs(1)) g.set(1, sum_to(where(condition, zero, g.dy()), sb));
    });
  return y;
}

}  // namespace fastnn
