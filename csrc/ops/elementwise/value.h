// The wrapper in which rows' formulas compute the differentiable gradient: a tensor or a number, and every
// operation on it an op.
#pragma once
#include "ops/elementwise/elementwise.h"

namespace fastnn {

class Value {
 public:
  Value() = default;
  Value(const Operand& x) : number_(x.number()) {
    if (!x.is_number()) tensor_ = x.tensor();
  }
  Value(Tensor x) : tensor_(std::move(x)) {}
  Value(Number x) : number_(x) {}
  static Value constant(double c) { return Number(c); }

  bool is_number() const { return !tensor_.defined(); }
  const Tensor& tensor() const { return tensor_; }
  Number number() const { return number_; }
  operator Operand() const { return is_number() ? Operand(number_) : Operand(tensor_); }

 private:
  Tensor tensor_;
  Number number_;
};

#define FASTNN_VALUE(op, function, Result)                                                  \
  inline Value operator op(const Value& a, const Value& b) {                                \
    if (a.is_number() && b.is_number())                                                     \
      return Number(static_cast<Result>(a.number().as_double() op b.number().as_double())); \
    return function(a, b);                                                                  \
  }
FASTNN_VALUE(+, add, double)
FASTNN_VALUE(-, sub, double)
FASTNN_VALUE(*, mul, double)
FASTNN_VALUE(/, div, double)
FASTNN_VALUE(==, eq, bool)
FASTNN_VALUE(!=, ne, bool)
FASTNN_VALUE(<, lt, bool)
FASTNN_VALUE(<=, le, bool)
FASTNN_VALUE(>, gt, bool)
FASTNN_VALUE(>=, ge, bool)
#undef FASTNN_VALUE
inline Value operator-(const Value& a) {
  return a.is_number() ? Value(Number(-a.number().as_double())) : neg(a.tensor());
}

// A condition may be a number where all that it compares are numbers.
inline Value operator&(const Value& a, const Value& b) {
  if (a.is_number()) return a.number().whole ? b : a;
  if (b.is_number()) return b.number().whole ? a : b;
  return logical_and(a, b);
}
inline Value operator|(const Value& a, const Value& b) {
  if (a.is_number()) return a.number().whole ? a : b;
  if (b.is_number()) return b.number().whole ? b : a;
  return logical_or(a, b);
}
inline Value select(const Value& mask, const Value& a, const Value& b) {
  if (mask.is_number()) return mask.number().whole ? a : b;
  return where(mask.tensor(), a, b);
}
inline Value max(const Value& a, const Value& b) { return select(a > b, a, b); }
inline Value min(const Value& a, const Value& b) { return select(a < b, a, b); }

// Each op of one operand by its name; of two, pow.
#define FASTNN_VALUE_UNARY(Name, function)                      \
  inline Value function(const Value& x) {                       \
    if (!x.is_number()) return function(x.tensor());            \
    return number_of(function(scalar(x.number().as_double()))); \
  }
#define FASTNN_VALUE_BINARY(Name, function)
FASTNN_ROWS(FASTNN_VALUE_UNARY, FASTNN_VALUE_BINARY)
#undef FASTNN_VALUE_UNARY
#undef FASTNN_VALUE_BINARY
inline Value pow(const Value& a, const Value& b) { return power(a, b); }

// P(X <= x) + x times the density at x
inline Value gelu_derivative(const Value& x) {
  const Value one = Value::constant(1), half = Value::constant(0.5);
  // Far below 0, where 1 + erf cancels, gelu(x) / x is as accurate as gelu is.
  const Value far = x < -one, x_far = select(far, x, -one);
  const Value below =
      select(far, gelu(x_far) / x_far, (erf(x * Value::constant(0.7071067811865476)) + one) * half);
  const Value density = exp(x * x * Value::constant(-0.5)) * Value::constant(0.3989422804014327);
  return below + x * density;
}
// s + x s (1 - s) 2 u', s = sigmoid(2 u)
inline Value gelu_tanh_derivative(const Value& x) {
  const Value slope = Value::constant(1.5957691216057308), one = Value::constant(1);
  const Value end = Value::constant(64);  // beyond it the sigmoid is 0 or 1
  const Value bounded = select(x < -end, -end, select(x > end, end, x)), square = bounded * bounded;
  const Value s = sigmoid(bounded * (square * Value::constant(0.07135481627260025) + slope));
  const Value inner = bounded * (square * Value::constant(3 * 0.07135481627260025) + slope);
  return s + s * (one - s) * inner;
}

}  // namespace fastnn
