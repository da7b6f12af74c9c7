// Sums, products, extrema.
#pragma once
#include "backend/elementwise/row.h"

namespace fastnn::rows {

struct Add {
  static constexpr Row row{.name = "add", .doc = "a + b, broadcast.", .dtypes = NUMERIC, .ulp = 0.5};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a + b;
  }
  template <class W>
  static constexpr W grad_a(W dy, W, W, W, None) {
    return dy;
  }
  template <class W>
  static constexpr W grad_b(W dy, W, W, W, None) {
    return dy;
  }
};

struct Sub {
  static constexpr Row row{.name = "sub", .doc = "a - b, broadcast.", .dtypes = NUMERIC, .ulp = 0.5};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a - b;
  }
  template <class W>
  static constexpr W grad_a(W dy, W, W, W, None) {
    return dy;
  }
  template <class W>
  static constexpr W grad_b(W dy, W, W, W, None) {
    return -dy;
  }
};

struct Mul {
  static constexpr Row row{.name = "mul", .doc = "a * b, broadcast.", .dtypes = NUMERIC, .ulp = 0.5};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a * b;
  }
  template <class W>
  static constexpr W grad_a(W dy, W, W b, W, None) {
    return dy * b;
  }
  template <class W>
  static constexpr W grad_b(W dy, W a, W, W, None) {
    return dy * a;
  }
};

struct Div {
  static constexpr Row row{.name = "div",
                           .doc = "a / b, broadcast; integers become float32.",
                           .dtypes = FLOATS,
                           .promotion = Promotion::floating,
                           .ulp = 0.5};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return a / b;
  }
  template <class W>
  static constexpr W grad_a(W dy, W, W b, W, None) {
    return dy / b;
  }
  template <class W>
  static constexpr W grad_b(W dy, W a, W b, W, None) {
    return -(dy / b * (a / b));
  }
};

// A NaN on either side gives NaN, and both operands the gradient. At a tie each gets half of it.
struct Maximum {
  static constexpr Row row{
      .name = "maximum", .doc = "The larger of a and b, broadcast; NaN wins.", .dtypes = NUMERIC};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return select((a > b) | (a != a), a, b);
  }
  template <class W>
  static constexpr W share(W dy, W winner, W other) {
    return select(winner < other, W::constant(0), select(winner == other, dy * W::constant(0.5), dy));
  }
  template <class W>
  static constexpr W grad_a(W dy, W a, W b, W, None) {
    return share(dy, a, b);
  }
  template <class W>
  static constexpr W grad_b(W dy, W a, W b, W, None) {
    return share(dy, b, a);
  }
};

struct Minimum {
  static constexpr Row row{
      .name = "minimum", .doc = "The smaller of a and b, broadcast; NaN wins.", .dtypes = NUMERIC};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return select((a < b) | (a != a), a, b);
  }
  template <class W>
  static constexpr W grad_a(W dy, W a, W b, W, None) {
    return Maximum::share(dy, b, a);
  }
  template <class W>
  static constexpr W grad_b(W dy, W a, W b, W, None) {
    return Maximum::share(dy, a, b);
  }
};

struct Neg {
  static constexpr Row row{.name = "neg", .doc = "-x", .dtypes = NUMERIC};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return -x;
  }
  template <class W>
  static constexpr W grad(W dy, W, W, None) {
    return -dy;
  }
};

}  // namespace fastnn::rows

#define FASTNN_ARITHMETIC(UNARY, BINARY) \
  BINARY(Add, add)                       \
  BINARY(Sub, sub)                       \
  BINARY(Mul, mul)                       \
  BINARY(Div, div)                       \
  BINARY(Maximum, maximum)               \
  BINARY(Minimum, minimum)               \
  UNARY(Neg, neg)
