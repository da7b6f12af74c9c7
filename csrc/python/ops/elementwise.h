// Arithmetic, comparisons and functions of single elements; copies and new tensors.
#pragma once
#include <charconv>
#include <cmath>

#include "core/promotion.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "python/convert.h"

namespace fastnn {

enum class GeluKind { exact, tanh };
template <>
inline constexpr std::array<Word<GeluKind>, 2> words<GeluKind>{
    {{"none", GeluKind::exact}, {"tanh", GeluKind::tanh}}};

inline std::string spelled(double value) {  // as Python reads it back, whatever the locale
  char digits[32];
  std::string text(digits, std::to_chars(digits, std::end(digits), value).ptr);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}
inline int parameters_of(const Row& row) {
  int n = 0;
  while (n < kMaxParameters && row.parameters[n].name) ++n;
  return n;
}

// A row: a function, a method and, where the dtype stays, a method that writes in place. Its parameters are
// keywords, too.
template <size_t>
using ParameterOf = double;
template <size_t... i>
void define_row(Definitions& d, const ElementwiseOp& op, std::index_sequence<i...>) {
  const Row& row = *op.row;
  std::string parameters;
  for (const RowParameter& p : row.parameters)
    if (p.name) parameters += std::string(", ") + p.name + "=" + spelled(p.value);
  const std::string name = row.name,
                    in_place = name + "_(self" + (op.arity == 2 ? ", other" : "") + parameters + ")";
  const bool stays = row.result == Result::same;
  if (op.arity == 1) {
    d.op((name + "(x" + parameters + ")").c_str(),
         +[](const ElementwiseOp& op, const Tensor& x, ParameterOf<i>... p) {
           const double values[] = {p..., 0.0};
           return unary(op, x, values);
         },
         row.doc, op);
    if (stays)
      d.method(
          in_place.c_str(),
          +[](const ElementwiseOp& op, const Tensor& x, ParameterOf<i>... p) {
            const double values[] = {p..., 0.0};
            return unary_(op, x, values);
          },
          row.doc, op);
  } else {
    d.op((name + "(a, b" + parameters + ")").c_str(),
         +[](const ElementwiseOp& op, const Operand& a, const Operand& b, ParameterOf<i>... p) {
           const double values[] = {p..., 0.0};
           return op.id == kRowId<rows::Pow> ? power(a, b) : binary(op, a, b, values);
         },
         row.doc, op);
    if (stays)
      d.method(
          in_place.c_str(),
          +[](const ElementwiseOp& op, const Tensor& x, const Operand& other, ParameterOf<i>... p) {
            const double values[] = {p..., 0.0};
            return op.id == kRowId<rows::Pow> ? power_(x, other) : binary_(op, x, other, values);
          },
          row.doc, op);
  }
}

// What a row says of itself, for documentation and tests.
Object describe_rows();

inline void define_elementwise(Definitions& d) {
  for (const ElementwiseOp& op : elementwise_ops()) {
    if (!op.row->bound) {
      if (op.id == kRowId<rows::GeluTanh>)
        d.internal("gelu_tanh(x)", +[](const Tensor& x) { return gelu_tanh(x); }, op.row->doc);
      continue;
    }
    const int n = parameters_of(*op.row);
    if (n == 0) define_row(d, op, std::make_index_sequence<0>());
    if (n == 1) define_row(d, op, std::make_index_sequence<1>());
    if (n == 2) define_row(d, op, std::make_index_sequence<2>());
    if (n == 3) define_row(d, op, std::make_index_sequence<3>());
    if (n == 4) define_row(d, op, std::make_index_sequence<4>());
  }
  d.internal("_rows() -> list[dict[str, Any]]", describe_rows, "The elementwise ops that are rows.");
  d.function("where(condition, a, b)", where, "a where condition holds, else b.");
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
  d.function(
      "result_type(a, b)", +[](const Tensor& a, const Tensor& b) { return result_type(a, b); },
      "The dtype in which two operands, tensors or numbers, meet.");
  d.function("zeros_like(x)", zeros_like, "Zeros in the shape, dtype and layout of x.");
  d.function("ones_like(x)", ones_like, "Ones in the shape, dtype and layout of x.");
  d.function("empty_like(x)", new_empty_like, "Uninitialised memory in the shape of x.");
  d.internal("_cast(x, dtype)", cast, "x as that dtype; x itself where it has it.");
  d.internal("_to_device(x, device, non_blocking=False)", to_device,
             "x on that device; x itself where it is there.");
  d.internal("_zeros(shape, dtype, device)", zeros);
  d.internal("_empty(shape, dtype, device)", new_empty);
  d.internal("_full(shape, value, dtype, device)", full);
  d.internal(
      "_arange(start, end, step, dtype, device)",
      +[](const Operand& start, const Operand& end, const Operand& step, DType dtype, Device device) {
        return arange(start, end, step, dtype, device);
      });
}

}  // namespace fastnn
