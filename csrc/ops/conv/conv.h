// Convolution.
#pragma once
#include "backend/gemm.h"
#include "core/tensor.h"

namespace fastnn {

struct Pair {  // rows, columns
  int64_t h, w;
  operator Dims() const { return {h, w}; }
};
inline void print(std::string& out, const Pair& p) { print(out, Dims(p)); }
struct ConvOptions {
  Pair stride{1, 1}, padding{0, 0}, dilation{1, 1};
  int64_t groups = 1;
  bool same = false;  // instead of `padding`: as much as keeps the image's size, the odd pixel at the end
};

// y = act(x * w + bias): x (N, C, H, W) or (C, H, W), w (K, C / groups, R, S), bias (K) or undefined.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& options,
              Activation activation);

}  // namespace fastnn
