// Activations of single elements, of float32 or float64.
#pragma once
#include "core/tensor.h"

namespace fastnn {

Tensor relu(const Tensor& x);     // max(x, 0); NaN stays NaN
Tensor sigmoid(const Tensor& x);  // 1 / (1 + e^-x)
Tensor tanh(const Tensor& x);

// x P(X <= x) of a standard normal variable X; with `approximate`, P as (1 + tanh(...)) / 2.
Tensor gelu(const Tensor& x, bool approximate);

}  // namespace fastnn
