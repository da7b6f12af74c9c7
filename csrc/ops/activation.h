// Activations of single elements, of float32 or float64.
#pragma once
#include "../core/tensor.h"

namespace fastnn {

Tensor relu(const Tensor& x);     // max(x, 0); NaN stays NaN
Tensor sigmoid(const Tensor& x);  // 1 / (1 + e^-x)
Tensor tanh(const Tensor& x);

}  // namespace fastnn
