// Activations and what they are made of.
#pragma once
#include "backend/elementwise/row.h"

namespace fastnn::rows {

// NaN stays NaN, for max gives its second operand where neither is larger.
struct Relu {
  static constexpr Row row{.name = "relu", .doc = "The larger of x and 0.", .dtypes = FLOATS};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return max(W::constant(0), x);
  }
  template <class W>
  static constexpr W grad(W dy, W, W y, None) {
    return select(y <= W::constant(0), W::constant(0), dy);
  }
};

struct Sigmoid {
  static constexpr Row row{
      .name = "sigmoid", .doc = "1 / (1 + e^-x)", .dtypes = FLOATS, .cost = 10, .ulp = 1.97};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return sigmoid(x);
  }
  template <class W>
  static constexpr W grad(W dy, W, W y, None) {
    return dy * (y * (W::constant(1) - y));
  }
};

struct Tanh {
  static constexpr Row row{
      .name = "tanh", .doc = "Hyperbolic tangent of x.", .dtypes = FLOATS, .cost = 10, .ulp = 2.62};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return tanh(x);
  }
  template <class W>
  static constexpr W grad(W dy, W, W y, None) {
    return dy * (W::constant(1) - y * y);
  }
};

// log(1 + e^z) as max(z, 0) + log(1 + e^-|z|), z = beta x: neither end overflows. Beyond the threshold it is
// z but for less than rounding shows.
struct Softplus {
  static constexpr Row row{.name = "softplus",
                           .doc = "log(1 + e^(beta x)) / beta; x where beta x > threshold.",
                           .dtypes = FLOATS,
                           .cost = 20,
                           .ulp = 1.7,
                           .parameters = {{"beta", 1}, {"threshold", 20}}};
  struct Parameters {
    double beta = 1, threshold = 20;
  };
  template <class W>
  static constexpr W forward(W x, const Parameters& p) {
    const W beta = W::constant(p.beta), z = beta * x;
    const W y = (max(W::constant(0), z) + log1p(exp(-abs(z)))) / beta;
    return select(z > W::constant(p.threshold), x, y);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, const Parameters& p) {
    const W z = W::constant(p.beta) * x;
    return select(z > W::constant(p.threshold), dy, dy * sigmoid(z));
  }
};

struct Erf {
  static constexpr Row row{.name = "erf",
                           .doc = "Error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.",
                           .dtypes = FLOATS,
                           .cost = 10,
                           .ulp = 2.6};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return erf(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy * (exp(-(x * x)) * W::constant(1.1283791670955126));
  }
};

// x P(X <= x) of a standard normal variable X. Each wrapper has gelu and gelu_derivative in its own terms,
// for both tails must keep their relative accuracy.
struct Gelu {
  static constexpr Row row{.name = "gelu",
                           .doc = "x P(X <= x) of a standard normal variable X.",
                           .dtypes = FLOATS,
                           .cost = 10,
                           .ulp = 7.6,
                           .ulp64 = 9.2,
                           .bound = false};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return gelu(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy * gelu_derivative(x);
  }
};

// The same with P approximated by (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
// (Hendrycks and Gimpel, "Gaussian error linear units", 2016).
struct GeluTanh {
  static constexpr Row row{.name = "gelu_tanh",
                           .doc = "GELU with the normal distribution approximated by tanh.",
                           .dtypes = FLOATS,
                           .cost = 10,
                           .ulp = 256,  // far below 0, where the exponent magnifies the rounding of u
                           .ulp64 = 2048,
                           .bound = false};
  using Parameters = None;
  template <class W>
  static constexpr W forward(W x, None) {
    return gelu_tanh(x);
  }
  template <class W>
  static constexpr W grad(W dy, W x, W, None) {
    return dy * gelu_tanh_derivative(x);
  }
};

}  // namespace fastnn::rows

namespace fastnn {
constexpr Probe gelu_derivative(Probe x) { return probe(probe(x)); }
constexpr Probe gelu_tanh_derivative(Probe x) { return probe(probe(x)); }
}  // namespace fastnn

#define FASTNN_ACTIVATION(UNARY, BINARY) \
  UNARY(Relu, relu)                      \
  UNARY(Sigmoid, sigmoid)                \
  UNARY(Tanh, tanh)                      \
  UNARY(Softplus, softplus)              \
  UNARY(Erf, erf)                        \
  UNARY(Gelu, gelu)                      \
  UNARY(GeluTanh, gelu_tanh)
