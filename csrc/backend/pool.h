// Pooling over windows of images.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

// What a kernel does with the P x Q windows of each image, and so which of its operands is an image.
enum class PoolPass : int {
  forward,   // x: images, y: a result per window; max writes index
  backward,  // x: a gradient per window, y: images, written whole; max reads index
  gather,    // x: images, y: per window the element that index names
};
struct PoolParams {  // planes = N * C images of H x W to P x Q
  int64_t planes, h, w, p, q;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  bool count_include_pad;  // avg: divide by the whole window
  PoolPass pass;
  const void* x;
  void* y;
  void* index;      // max: position of the maximum within its window, r * kernel_w + s; index_bytes each;
                    // forward: null where nobody will ask
  int index_bytes;  // 1 where kernel_h * kernel_w <= 256, else 4

  static constexpr bool kCancellable = true;

  double flops() const {
    return static_cast<double>(planes * p * q) * static_cast<double>(kernel_h * kernel_w);
  }
  double nanoseconds() const {
    const double pixels = static_cast<double>(planes * h * w), seen = 0.1 * flops();
    return pixels > seen ? pixels : seen;
  }
  template <class F>
  void touches(int64_t size, F&& f) const {
    const int64_t images = planes * h * w * size, windows = planes * p * q;
    f(read_of(x, pass == PoolPass::backward ? windows * size : images));
    f(write_of(y, pass == PoolPass::backward ? images : windows * size));
    const Access access = pass == PoolPass::forward ? Access::write : Access::read;
    if (index) f(dense(index, windows * index_bytes, access));
  }
};

#define FASTNN_POOL(K)                                   \
  K(max_pool2d, PoolParams, FLOATS, CPU | CUDA)          \
  K(max_pool2d_backward, PoolParams, FLOATS, CPU | CUDA) \
  K(max_pool2d_gather, PoolParams, FLOATS, CPU | CUDA)   \
  K(avg_pool2d, PoolParams, FLOATS, CPU | CUDA)          \
  K(avg_pool2d_backward, PoolParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(PoolTable, pool, FASTNN_POOL)

}  // namespace fastnn
