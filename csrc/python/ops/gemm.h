// Matrix products.
#pragma once
#include "ops/gemm/matmul.h"
#include "python/activation.h"

namespace fastnn {

inline void define_gemm(Definitions& d) {
  d.op("matmul(a, b)", matmul, "Matrix product; batches broadcast, vectors as in NumPy.");
  d.internal("linear(x, w, bias=None, activation='none')", linear,
             "act(x w^T + bias): x (..., in), w (out, in), bias (out) or None; activation 'none' or 'relu'.");
}

}  // namespace fastnn
