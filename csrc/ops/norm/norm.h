// Normalisation by mean and variance: (x - mean) / sqrt(variance + eps) weight + bias, of float32 or float64.
// Weight and bias may be undefined (1 and 0).
#pragma once
#include "backend/gemm.h"
#include "core/tensor.h"

namespace fastnn {

// Over the last dimensions, whose sizes are `shape`; weight and bias have that shape.
Tensor layer_norm(const Tensor& x, const Dims& shape, const Tensor& weight, const Tensor& bias, double eps);

// Per channel of x (N, C, ...), over all other dimensions; weight, bias and running statistics have C
// elements.
struct BatchNormOptions {
  Tensor running_mean, running_var;  // training: moved towards the batch's, or undefined
  bool training = false;             // by the batch's statistics, else by the running ones
  double momentum = 0.1;             // share of the batch in the running statistics
  double eps = 1e-5;
  Activation activation = Activation::none;
};
Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormOptions& options);

}  // namespace fastnn
