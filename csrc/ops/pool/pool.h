// Pooling of images (N, C, H, W) or (C, H, W).
#pragma once
#include "ops/conv/conv.h"

namespace fastnn {

struct PoolOptions {
  Pair kernel, stride, padding{0, 0}, dilation{1, 1};
  bool ceil_mode = false;         // a last window may reach beyond the image
  bool count_include_pad = true;  // average: padding counts as zeros
};
Tensor max_pool2d(const Tensor& x, const PoolOptions& options);
Tensor avg_pool2d(const Tensor& x, const PoolOptions& options);

}  // namespace fastnn
