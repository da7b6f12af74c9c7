// Matrix products.
#pragma once
#include "backend/gemm.h"
#include "core/tensor.h"

namespace fastnn {

Tensor matmul(const Tensor& a, const Tensor& b);
// act(x w^T + bias): x (..., in), w (out, in), bias (out) or undefined.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias, Activation activation);

}  // namespace fastnn
