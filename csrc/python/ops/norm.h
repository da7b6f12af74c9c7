// Normalisation by mean and variance.
#pragma once
#include "ops/norm/norm.h"
#include "python/activation.h"

namespace fastnn {

inline void define_norm(Definitions& d) {
  d.internal("layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-05)", layer_norm,
             "(x - mean) / sqrt(variance + eps) weight + bias, over the last dimensions, of shape "
             "normalized_shape.");
  d.internal(
      "batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, training=False, "
      "momentum=0.1, eps=1e-05, activation='none')",
      [](const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
         const Tensor& bias, bool training, double momentum, double eps, Activation activation) {
        return batch_norm(x, weight, bias,
                          {.running_mean = running_mean,
                           .running_var = running_var,
                           .training = training,
                           .momentum = momentum,
                           .eps = eps,
                           .activation = activation});
      },
      "(x - mean) / sqrt(variance + eps) weight + bias, per channel of x (N, C, ...); activation 'none' or "
      "'relu'.");
}

}  // namespace fastnn
