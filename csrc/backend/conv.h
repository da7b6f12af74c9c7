// Convolution: N images of C channels, H x W pixels; K filters of (C / groups) x R x S; outputs P x Q. All
// tensors row-major NCHW / KCRS.
#pragma once
#include "backend/gemm.h"

namespace fastnn {

struct ConvShape {
  int64_t n, c, h, w, k, r, s, p, q;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
};
enum class ConvPass : int { forward, grad_input, grad_weight };  // out is y, dx, dw
struct ConvParams {
  ConvPass pass;
  ConvShape shape;
  const void* x;   // N C H W      forward, grad weight: read
  const void* w;   // K C/g R S    forward, grad input: read
  const void* dy;  // N K P Q      grad input, grad weight: read
  void* out;
  const void* bias;  // length K, forward only, or null
  Activation activation;

  // Takes long and writes nothing but a new tensor, so it may be stopped half way.
  static constexpr bool kCancellable = true;

  double flops() const {
    const ConvShape& s = shape;
    return 2.0 * static_cast<double>(s.n * s.k * s.p * s.q) * static_cast<double>(s.c / s.groups * s.r * s.s);
  }
  double nanoseconds() const { return flops() / 40; }
  template <class F>
  void touches(int64_t size, F&& f) const {
    const ConvShape& s = shape;
    const int64_t image = s.n * s.c * s.h * s.w, filters = s.k * (s.c / s.groups) * s.r * s.s,
                  result = s.n * s.k * s.p * s.q;
    if (x) f(read_of(x, image * size));
    if (w) f(read_of(w, filters * size));
    if (dy) f(read_of(dy, result * size));
    if (bias) f(read_of(bias, s.k * size));
    const int64_t written = pass == ConvPass::forward      ? result
                            : pass == ConvPass::grad_input ? image
                                                           : filters;
    f(write_of(out, written * size));
  }
};

#define FASTNN_CONV(K)                                 \
  K(conv2d, ConvParams, FLOATS, CPU | CUDA)            \
  K(conv2d_grad_input, ConvParams, FLOATS, CPU | CUDA) \
  K(conv2d_grad_weight, ConvParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(ConvTable, conv, FASTNN_CONV)

}  // namespace fastnn
