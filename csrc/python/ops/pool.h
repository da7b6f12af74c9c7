// Pooling of images.
#pragma once
#include "ops/pool/pool.h"
#include "python/ops/conv.h"

namespace fastnn {

inline void define_pool(Definitions& d) {
  d.internal(
      "max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)",
      [](const Tensor& x, const Pair& kernel, const std::optional<Pair>& stride, const Pair& padding,
         const Pair& dilation, bool ceil_mode) {
        return max_pool2d(x, {.kernel = kernel,
                              .stride = stride.value_or(kernel),
                              .padding = padding,
                              .dilation = dilation,
                              .ceil_mode = ceil_mode});
      },
      "The largest element of each window of images (N, C, H, W); padding never wins, NaN does.");
  d.internal(
      "avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True, ceil_mode=False)",
      [](const Tensor& x, const Pair& kernel, const std::optional<Pair>& stride, const Pair& padding,
         bool count_include_pad, bool ceil_mode) {
        return avg_pool2d(x, {.kernel = kernel,
                              .stride = stride.value_or(kernel),
                              .padding = padding,
                              .ceil_mode = ceil_mode,
                              .count_include_pad = count_include_pad});
      },
      "The mean of each window of images (N, C, H, W).");
}

}  // namespace fastnn
