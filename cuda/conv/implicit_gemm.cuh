// Convolution as products of matrices that exist only while tiles are read (implicit GEMM), per group:
//
//   forward      y[k, (n p q)]   = sum over (c r s) of   w[k, (c r s)] x[(c r s), (n p q)]
//   grad input   dx[c, (n h w)]  = sum over (k taps) of  w[(k taps), c] dy[(k taps), (n h w)]
//   grad weight  dw[k, (c r s)]  = sum over (n p q) of   dy[k, (n p q)] x[(n p q), (c r s)]
//
// The gradient of the input is a product for each phase of the stride.
// C's columns are pixels in the first two, so that NCHW is read and written along its rows.
#pragma once
#include "backend/conv.h"
#include "cuda/conv/image_operand.cuh"
#include "cuda/conv/shape.cuh"
#include "cuda/gemm/tile_plan.cuh"

namespace fastnn::cuda {

constexpr int64_t kMostPhases = 256;  // of stride_h * stride_w: a launch each

template <class T>
using ConvProduct = Product<T, Gather<T>>;

inline Axis linear_axis(int64_t stride) { return Axis(1, 0x7fffffff, 0, 0, stride); }

// Rows and columns along an axis's last two dimensions.
inline Axis on_image(Axis axis, int64_t h_start, int64_t h_step, int64_t w_start, int64_t w_step) {
  axis.h_start = static_cast<int>(h_start), axis.h_step = static_cast<int>(h_step);
  axis.w_start = static_cast<int>(w_start), axis.w_step = static_cast<int>(w_step);
  return axis;
}

// A matrix in memory, addressed as if it were gathered: every place is pixel (0, 0) of a 1 x 1 image.
template <class T>
Gather<T> plain_operand(const void* base, int64_t batch_stride, const Axis& tile, const Axis& depth) {
  return {static_cast<const T*>(base), batch_stride, tile, depth, 1, 1, Layout::depth};
}

// x as (n p q) by (c r s).
inline Axis pixels_of_x(const ConvShape& s) {
  Axis axis(s.p, s.q, s.c * s.h * s.w, s.stride_h * s.w, s.stride_w);
  axis.start = -s.pad_h * s.w - s.pad_w;
  return on_image(axis, -s.pad_h, s.stride_h, -s.pad_w, s.stride_w);
}
inline Axis taps_of_x(const ConvShape& s) {
  return on_image(Axis(s.r, s.s, s.h * s.w, s.dilation_h * s.w, s.dilation_w), 0, s.dilation_h, 0,
                  s.dilation_w);
}
// y's pixels, whose rows follow each other.
inline Axis pixels_of_y(const ConvShape& s) { return Axis(1, s.p * s.q, s.k * s.p * s.q, 0, 1); }

// Along pixels: in 16-byte pieces where one tap sees them, without padding.
template <class T>
Layout pixel_layout(const ConvShape& s, const void* image) {
  const bool flat =
      s.r == 1 && s.s == 1 && s.h == 1 && s.p == 1 && s.q == s.w && s.pad_w == 0 && s.stride_w == 1;
  return flat && s.w % kVector<T> == 0 && vector_aligned(image) ? Layout::tile_vector : Layout::tile;
}

template <class T>
ConvProduct<T> forward_product(const ConvParams& params, const ConvShape& s) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups, depth = channels * s.r * s.s;
  ConvProduct<T> p{};
  p.m = filters, p.n = s.n * s.p * s.q, p.k = depth, p.batch = s.groups;
  p.a = plain_operand<T>(params.w, filters * depth, linear_axis(depth), linear_axis(1));
  p.b = {static_cast<const T*>(params.x),
         channels * s.h * s.w,
         pixels_of_x(s),
         taps_of_x(s),
         static_cast<int>(s.h),
         static_cast<int>(s.w),
         pixel_layout<T>(s, params.x)};
  p.out.base = static_cast<T*>(params.out);
  p.out.row_stride = s.p * s.q, p.out.batch_stride = filters * s.p * s.q;
  p.out.columns = pixels_of_y(s);
  p.out.vector = s.p * s.q % kVector<T> == 0 && vector_aligned(params.out);
  p.out.bias = static_cast<const T*>(params.bias), p.out.bias_row = 1, p.out.bias_batch = filters;
  p.out.relu = params.activation == Activation::relu;
  return p;
}

// Pixels (a + i stride_h, b + j stride_w) of dx.
template <class T>
ConvProduct<T> grad_input_product(const ConvParams& params, const ConvShape& s, int64_t a, int64_t b) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  const Phase row = phase_of(a, s.h, s.stride_h, s.pad_h, s.dilation_h, s.r);
  const Phase col = phase_of(b, s.w, s.stride_w, s.pad_w, s.dilation_w, s.s);
  const int64_t taps = row.taps * col.taps, extent1 = taps > 0 ? row.taps : 1,
                extent2 = taps > 0 ? col.taps : 1;
  ConvProduct<T> p{};
  p.m = channels, p.n = s.n * row.pixels * col.pixels, p.k = filters * taps, p.batch = s.groups;
  if (p.n == 0) return p;
  Axis w_taps(extent1, extent2, channels * s.r * s.s, row.step * s.s, col.step);
  w_taps.start = row.first * s.s + col.first;
  p.a = plain_operand<T>(params.w, filters * channels * s.r * s.s, linear_axis(s.r * s.s), w_taps);
  Axis pixels(row.pixels, col.pixels, s.k * s.p * s.q, s.q, 1);
  pixels.start = row.start * s.q + col.start;
  const Axis taps_of_dy(extent1, extent2, s.p * s.q, row.move * s.q, col.move);
  p.b = {static_cast<const T*>(params.dy),
         filters * s.p * s.q,
         on_image(pixels, row.start, 1, col.start, 1),
         on_image(taps_of_dy, 0, row.move, 0, col.move),
         static_cast<int>(s.p),
         static_cast<int>(s.q),
         pixel_layout<T>(s, params.dy)};
  p.out.base = static_cast<T*>(params.out) + a * s.w + b;
  p.out.row_stride = s.h * s.w, p.out.batch_stride = channels * s.h * s.w;
  p.out.columns = Axis(row.pixels, col.pixels, s.c * s.h * s.w, s.stride_h * s.w, s.stride_w);
  p.out.vector =
      s.stride_h == 1 && s.stride_w == 1 && s.h * s.w % kVector<T> == 0 && vector_aligned(params.out);
  return p;
}

template <class T>
ConvProduct<T> grad_weight_product(const ConvParams& params, const ConvShape& s) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups, columns = channels * s.r * s.s;
  ConvProduct<T> p{};
  p.m = filters, p.n = columns, p.k = s.n * s.p * s.q, p.batch = s.groups;
  const Axis pixels = p.k > 0 ? pixels_of_x(s) : linear_axis(0),
             dy_pixels = p.k > 0 ? pixels_of_y(s) : pixels;
  p.a = plain_operand<T>(params.dy, filters * s.p * s.q, linear_axis(s.p * s.q), dy_pixels);
  p.b = {static_cast<const T*>(params.x), channels * s.h * s.w,  taps_of_x(s), pixels,
         static_cast<int>(s.h),           static_cast<int>(s.w), Layout::depth};
  p.out.base = static_cast<T*>(params.out);
  p.out.row_stride = columns, p.out.batch_stride = filters * columns, p.out.column_stride = 1;
  p.out.vector = columns % kVector<T> == 0 && vector_aligned(params.out);
  return p;
}

// ---- running them

template <class T>
Status run_conv(Context& ctx, const ConvProduct<T>& p) {
  return with_tiles<T, Gather<T>>(ctx, [&]<class List> {
    const ProductPlan plan = plan_product<List>(ctx, p);
    T* scratch = plan.scratch > 0 ? workspace<T>(ctx, plan.scratch) : nullptr;
    if (plan.scratch > 0 && !scratch) return Status::need_workspace;
    return run_product<List>(ctx, p, plan, scratch);
  });
}

template <class T>
Status implicit_gemm_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return run_conv(ctx, forward_product<T>(params, s));
}

template <class T>
Status implicit_gemm_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return run_conv(ctx, grad_weight_product<T>(params, s));
}

template <class T, class List>
Status run_phases(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const auto for_phases = [&](auto f) {
    for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
      for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
        const ConvProduct<T> p = grad_input_product<T>(params, s, a, b);
        if (const Status status = f(p, plan_product<List>(ctx, p)); status != Status::ok) return status;
      }
    return Status::ok;
  };
  size_t most = 0;
  for_phases([&](const ConvProduct<T>&, const ProductPlan& plan) {
    if (plan.scratch > most) most = plan.scratch;
    return Status::ok;
  });
  T* scratch = most > 0 ? workspace<T>(ctx, most) : nullptr;
  if (most > 0 && !scratch) return Status::need_workspace;
  return for_phases([&](const ConvProduct<T>& p, const ProductPlan& plan) {
    return run_product<List>(ctx, p, plan, scratch);
  });
}

template <class T>
Status implicit_gemm_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return with_tiles<T, Gather<T>>(ctx, [&]<class List> { return run_phases<T, List>(ctx, params, s); });
}

}  // namespace fastnn::cuda
