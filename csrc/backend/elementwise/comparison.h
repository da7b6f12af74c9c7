// Comparisons, which give bools, and logic.
#pragma once
#include "backend/elementwise/row.h"

namespace fastnn::rows {

#define FASTNN_COMPARES(Name, text, op, words)                                             \
  struct Name {                                                                            \
    static constexpr Row row{                                                              \
        .name = text, .doc = words, .dtypes = NUMERIC | BOOLS, .result = Result::boolean}; \
    using Parameters = None;                                                               \
    template <class W>                                                                     \
    static constexpr auto forward(W a, W b, None) {                                        \
      return a op b;                                                                       \
    }                                                                                      \
  };
FASTNN_COMPARES(Eq, "eq", ==, "a == b, as bool.")
FASTNN_COMPARES(Ne, "ne", !=, "a != b, as bool.")
FASTNN_COMPARES(Lt, "lt", <, "a < b, as bool.")
FASTNN_COMPARES(Le, "le", <=, "a <= b, as bool.")
FASTNN_COMPARES(Gt, "gt", >, "a > b, as bool.")
FASTNN_COMPARES(Ge, "ge", >=, "a >= b, as bool.")
#undef FASTNN_COMPARES

// In memory a bool is the byte 0 or 1.
struct LogicalAnd {
  static constexpr Row row{
      .name = "logical_and", .doc = "a and b, of bool tensors.", .dtypes = BOOLS, .result = Result::boolean};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a & b;
  }
};
struct LogicalOr {
  static constexpr Row row{
      .name = "logical_or", .doc = "a or b, of bool tensors.", .dtypes = BOOLS, .result = Result::boolean};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a | b;
  }
};
struct LogicalNot {
  static constexpr Row row{
      .name = "logical_not", .doc = "not x, of a bool tensor.", .dtypes = BOOLS, .result = Result::boolean};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return x ^ W::constant(1);
  }
};

}  // namespace fastnn::rows

#define FASTNN_COMPARISON(UNARY, BINARY) \
  BINARY(Eq, eq)                         \
  BINARY(Ne, ne)                         \
  BINARY(Lt, lt)                         \
  BINARY(Le, le)                         \
  BINARY(Gt, gt)                         \
  BINARY(Ge, ge)

#define FASTNN_LOGIC(UNARY, BINARY) \
  BINARY(LogicalAnd, logical_and)   \
  BINARY(LogicalOr, logical_or)     \
  UNARY(LogicalNot, logical_not)
