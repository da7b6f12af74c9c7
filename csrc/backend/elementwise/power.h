// Sizes, powers, exponentials.
#pragma once
#include <limits>

#include "backend/elementwise/row.h"

namespace fastnn::rows {

struct Abs {
  static constexpr Row row{.name = "abs", .doc = "|x|", .dtypes = NUMERIC};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return abs(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy * sign(x);
  }
};

struct Sign {  // the sign of NaN is NaN, of a zero that zero
  static constexpr Row row{.name = "sign", .doc = "-1, 0 or 1 by the sign of x.", .dtypes = NUMERIC};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return sign(x);
  }
  template <class W>
  static constexpr W grad(W, W, W, None) {
    return W::constant(0);
  }
};

struct Sqrt {
  static constexpr Row row{
      .name = "sqrt", .doc = "Square root of x.", .dtypes = FLOATS, .cost = 10, .ulp = 0.5};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return sqrt(x);
  }
  template <class W>
  static constexpr W grad(W dy, W, W y, None) {
    return dy / (y * W::constant(2));
  }
};

struct Exp {
  static constexpr Row row{
      .name = "exp", .doc = "e to the power of x.", .dtypes = FLOATS, .cost = 10, .ulp = 0.93};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return exp(x);
  }
  template <class W>
  static constexpr W grad(W dy, W, W y, None) {
    return dy * y;
  }
};

struct Log {
  static constexpr Row row{
      .name = "log", .doc = "Natural logarithm of x.", .dtypes = FLOATS, .cost = 10, .ulp = 0.83};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return log(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy / x;
  }
};

struct Log1p {
  static constexpr Row row{
      .name = "log1p", .doc = "log(1 + x), accurate near 0.", .dtypes = FLOATS, .cost = 10, .ulp = 1.4};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return log1p(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy / (x + W::constant(1));
  }
};

// da: b a^(b-1), which is 0 for b = 0 whatever a is; the exponent there is 0, not -1, so that the gradient of
// what is not chosen stays finite. db: a^b log(a), which is 0 at a = 0 for b >= 0.
struct Pow {
  static constexpr Row row{.name = "pow",
                           .doc = "a ** b, broadcast; integers become float32.",
                           .dtypes = FLOATS,
                           .promotion = Promotion::floating,
                           .cost = 40,
                           .ulp = 1,
                           .fused = false};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    return pow(a, b);
  }
  template <class W>
  static constexpr W grad_a(W dy, W a, W b, W, None) {
    const W zero = W::constant(0);
    const auto flat = b == zero;
    return dy * select(flat, zero, b * pow(a, select(flat, W::constant(1), b) - W::constant(1)));
  }
  template <class W>
  static constexpr W grad_b(W dy, W a, W b, W y, None) {
    const W zero = W::constant(0);
    const auto flat = (a == zero) & (b >= zero);
    return dy * select(flat, zero, y * log(select(flat, W::constant(1), a)));
  }
};

// The larger times sqrt(1 + ratio^2): neither square can overflow or vanish. As in C, an infinity wins over
// NaN.
struct Hypot {
  static constexpr Row row{.name = "hypot",
                           .doc = "sqrt(a^2 + b^2), broadcast; integers become float32.",
                           .dtypes = FLOATS,
                           .promotion = Promotion::floating,
                           .cost = 20,
                           .ulp = 2};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W a, W b, None) {
    const W zero = W::constant(0), infinity = W::constant(std::numeric_limits<double>::infinity());
    const W x = abs(a), y = abs(b), large = max(x, y), small = min(x, y), ratio = small / large;
    const W h = select(large == zero, large, large * sqrt(W::constant(1) + ratio * ratio));
    return select((x == infinity) | (y == infinity), infinity, select(a != a, a, h));
  }
  template <class W>
  static constexpr W grad_a(W dy, W a, W, W y, None) {
    return dy * (a / y);
  }
  template <class W>
  static constexpr W grad_b(W dy, W, W b, W y, None) {
    return dy * (b / y);
  }
};

}  // namespace fastnn::rows

#define FASTNN_POWER(UNARY, BINARY) \
  UNARY(Abs, abs)                   \
  UNARY(Sign, sign)                 \
  UNARY(Sqrt, sqrt)                 \
  UNARY(Exp, exp)                   \
  UNARY(Log, log)                   \
  UNARY(Log1p, log1p)               \
  BINARY(Pow, pow)                  \
  BINARY(Hypot, hypot)
