// Arithmetic, comparisons and functions of single elements; copies and new tensors.
#pragma once
#include "ops/elementwise/activation.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "python/convert.h"

namespace fastnn {

enum class GeluKind { exact, tanh };
template <>
inline constexpr std::array<Word<GeluKind>, 2> words<GeluKind>{
    {{"none", GeluKind::exact}, {"tanh", GeluKind::tanh}}};

inline void define_elementwise(Definitions& d) {
  d.op("add(a, b)", add, "a + b, broadcast.");
  d.op("sub(a, b)", sub, "a - b, broadcast.");
  d.op("mul(a, b)", mul, "a * b, broadcast.");
  d.op("div(a, b)", div, "a / b, broadcast; integers become float32.");
  d.op("pow(a, b)", pow, "a ** b, broadcast; integers become float32.");
  d.op("maximum(a, b)", maximum, "The larger of a and b, broadcast; NaN wins.");
  d.op("minimum(a, b)", minimum, "The smaller of a and b, broadcast; NaN wins.");
  d.method("add_(self, other)", add_, "x += other");
  d.method("sub_(self, other)", sub_, "x -= other");
  d.method("mul_(self, other)", mul_, "x *= other");
  d.method("div_(self, other)", div_, "x /= other");

  d.op("neg(x)", neg, "-x");
  d.op("abs(x)", abs, "|x|");
  d.op("sign(x)", sign, "-1, 0 or 1 by the sign of x.");
  d.op("exp(x)", exp, "e to the power of x.");
  d.op("log(x)", log, "Natural logarithm of x.");
  d.op("sqrt(x)", sqrt, "Square root of x.");
  d.op("erf(x)", erf, "Error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.");

  d.op("eq(a, b)", eq, "a == b, as bool.");
  d.op("ne(a, b)", ne, "a != b, as bool.");
  d.op("lt(a, b)", lt, "a < b, as bool.");
  d.op("le(a, b)", le, "a <= b, as bool.");
  d.op("gt(a, b)", gt, "a > b, as bool.");
  d.op("ge(a, b)", ge, "a >= b, as bool.");
  d.op("logical_and(a, b)", logical_and, "a and b, of bool tensors.");
  d.op("logical_or(a, b)", logical_or, "a or b, of bool tensors.");
  d.op("logical_not(x)", logical_not, "not x, of a bool tensor.");
  d.function("where(condition, a, b)", where, "a where condition holds, else b.");

  d.op("relu(x)", relu, "The larger of x and 0.");
  d.op("sigmoid(x)", sigmoid, "1 / (1 + e^-x)");
  d.op("tanh(x)", tanh, "Hyperbolic tangent of x.");
  d.internal(
      "gelu(x, approximate='none')",
      [](const Tensor& x, GeluKind approximate) { return gelu(x, approximate == GeluKind::tanh); },
      "x P(X <= x) of a standard normal variable X; approximate 'none' or 'tanh'.");
}

inline void define_copies(Definitions& d) {
  d.method("contiguous(self)", contiguous, "This tensor in row-major memory.");
  d.op("clone(x)", clone, "A copy with memory of its own.");
  d.method("copy_(self, source)", copy_, "Writes the elements of another tensor into this one.");
  d.method("fill_(self, value)", fill_, "Writes one value everywhere.");
  d.method("zero_(self)", [](const Tensor& x) { return fill_(x, scalar(0.0)); }, "Writes 0 everywhere.");
  d.function("result_type(a, b)", result_type, "The dtype in which two operands, tensors or numbers, meet.");
  d.function("zeros_like(x)", zeros_like, "Zeros in the shape, dtype and layout of x.");
  d.function("ones_like(x)", ones_like, "Ones in the shape, dtype and layout of x.");
  d.function(
      "empty_like(x)", [](const Tensor& x) { return empty_like(x); },
      "Uninitialised memory in the shape of x.");
  d.internal("_cast(x, dtype)", cast, "x as that dtype; x itself where it has it.");
  d.internal("_to_device(x, device, non_blocking=False)", to_device,
             "x on that device; x itself where it is there.");
  d.internal("_zeros(shape, dtype, device)", zeros);
  d.internal("_empty(shape, dtype, device)", [](const Dims& shape, DType dtype, Device device) {
    return empty("empty", shape, dtype, device);
  });
  d.internal("_full(shape, value, dtype, device)", full);
  d.internal("_arange(start, end, step, dtype, device)", arange);
}

}  // namespace fastnn
