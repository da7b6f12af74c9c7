// Arithmetic, comparisons and functions of single elements. Operands broadcast and are promoted as in
// PyTorch.
#pragma once
#include "ops/elementwise/op.h"

namespace fastnn {

// Every row is a function of its name: exp(x), add(a, b), softplus(x, {.beta = 2}).
#define FASTNN_UNARY_OP(Name, function)                                                          \
  inline Tensor function(const Tensor& x, const rows::Name::Parameters& p = {}) {                \
    return unary(elementwise_ops()[kRowId<rows::Name>], x, reinterpret_cast<const double*>(&p)); \
  }
#define FASTNN_BINARY_OP(Name, function)                                                             \
  inline Tensor function(const Operand& a, const Operand& b, const rows::Name::Parameters& p = {}) { \
    return binary(elementwise_ops()[kRowId<rows::Name>], a, b, reinterpret_cast<const double*>(&p)); \
  }
FASTNN_ROWS(FASTNN_UNARY_OP, FASTNN_BINARY_OP)
#undef FASTNN_UNARY_OP
#undef FASTNN_BINARY_OP

// a^b, with the powers that have an op of their own: x^2 = x x, x^0.5, x^1, x^-1.
Tensor power(const Operand& a, const Operand& b);
Tensor power_(const Tensor& x, const Operand& b);  // the same in x's memory
Tensor gelu(const Tensor& x, bool approximate);
Tensor where(const Tensor& condition, const Operand& a, const Operand& b);

// dy where y is positive and 0 elsewhere: what a product or convolution does that ends in a ReLU.
Tensor relu_gradient(const Tensor& dy, const Tensor& y);

}  // namespace fastnn
