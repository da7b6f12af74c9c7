// Convolution with 1x1 filters that meet every pixel once: of each image the product of filters (K x C) and
// channels (C x pixels), which lie as a matrix product wants them. That packs the channels only where it
// pays, which it does not for few filters.
#include "cpu/conv/algorithms.h"
#include "cpu/gemm/product.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kLeastPixels = 128;  // of smaller images panels take several at a time

template <class T>
bool is_pointwise(const ConvShape& s) {
  return s.groups == 1 && s.r == 1 && s.s == 1 && s.p == s.h && s.q == s.w && s.pad_h == 0 && s.pad_w == 0 &&
         s.h * s.w >= kLeastPixels;
}

namespace {

// Rows of C are `rows` filters or channels, of which `depth` meet; `w_row` and `w_col` are the steps of w.
template <class T>
Status multiply_images(Context& ctx, const ConvParams& params, const ConvShape& s, int64_t rows,
                       int64_t depth, int64_t w_row, int64_t w_col, const void* images) {
  const int64_t pixels = s.h * s.w;
  const Product<T> g{
      .m = rows,
      .n = pixels,
      .k = depth,
      .a = static_cast<const T*>(params.w),
      .rs_a = w_row,
      .cs_a = w_col,
      .b = static_cast<const T*>(images),
      .rs_b = pixels,
      .cs_b = 1,
      .c = static_cast<T*>(params.out),
      .ldc = pixels,
      .row_bias = static_cast<const T*>(params.bias),
      .relu = params.activation == Activation::relu,
      .stream = kVectorBytes >= 32 && s.n * rows * pixels * static_cast<int64_t>(sizeof(T)) >= kStreamBytes,
      .batch_b = depth * pixels,
      .batch_c = rows * pixels,
  };
  return multiply(ctx, g, s.n);
}

}  // namespace

template <class T>
Status pointwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return multiply_images<T>(ctx, params, s, s.k, s.c, s.c, 1, params.x);
}
template <class T>
Status pointwise_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return multiply_images<T>(ctx, params, s, s.c, s.k, 1, s.c, params.dy);
}

template bool is_pointwise<float>(const ConvShape& s);
template bool is_pointwise<double>(const ConvShape& s);
template Status pointwise_forward<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status pointwise_forward<double>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status pointwise_grad_input<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status pointwise_grad_input<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
