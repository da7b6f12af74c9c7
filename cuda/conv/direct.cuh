// Convolution by its definition, a thread per result, in 64-bit indices: for the shapes that the other
// kernels do not count to, such as dilations of billions.
#pragma once
#include "backend/conv.h"
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

constexpr int kDirectThreads = 128;

struct Digits4 {  // index = ((a * e1 + b) * e2 + c) * e3 + d
  int64_t a, b, c, d;
};
__device__ inline Digits4 digits_of(int64_t index, int64_t e1, int64_t e2, int64_t e3) {
  const int64_t abc = index / e3, ab = abc / e2, a = ab / e1;
  return {a, ab - a * e1, abc - ab * e2, index - abc * e3};
}

// f(i) for i below count.
template <class F>
__device__ void for_each_result(int64_t count, F f) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x)
    f(i);
}

template <class T>
__global__ void direct_forward_kernel(ConvShape s, const T* x, const T* w, const T* bias, bool relu, T* y) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  for_each_result(s.n * s.k * s.p * s.q, [&](int64_t index) {
    const Digits4 at = digits_of(index, s.k, s.p, s.q);
    const int64_t h0 = at.c * s.stride_h - s.pad_h, w0 = at.d * s.stride_w - s.pad_w;
    T sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const T* image = x + (at.a * s.c + at.b / filters * channels + c) * s.h * s.w;
      const T* filter = w + (at.b * channels + c) * s.r * s.s;
      for (int64_t r = 0; r < s.r; ++r) {
        const int64_t row = h0 + r * s.dilation_h;
        if (row < 0 || row >= s.h) continue;
        for (int64_t t = 0; t < s.s; ++t) {
          const int64_t col = w0 + t * s.dilation_w;
          if (col >= 0 && col < s.w) sum = fma(filter[r * s.s + t], image[row * s.w + col], sum);
        }
      }
    }
    if (bias) sum += bias[at.b];
    y[index] = relu && sum < T(0) ? T(0) : sum;
  });
}

template <class T>
__global__ void direct_grad_input_kernel(ConvShape s, const T* dy, const T* w, T* dx) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  for_each_result(s.n * s.c * s.h * s.w, [&](int64_t index) {
    const Digits4 at = digits_of(index, s.c, s.h, s.w);
    const int64_t group = at.b / channels, channel = at.b - group * channels;
    T sum = 0;
    for (int64_t k = group * filters; k < (group + 1) * filters; ++k) {
      const T* image = dy + (at.a * s.k + k) * s.p * s.q;
      const T* filter = w + (k * channels + channel) * s.r * s.s;
      for (int64_t r = 0; r < s.r; ++r) {
        const int64_t h = at.c + s.pad_h - r * s.dilation_h, p = h / s.stride_h;
        if (h < 0 || p >= s.p || p * s.stride_h != h) continue;
        for (int64_t t = 0; t < s.s; ++t) {
          const int64_t c = at.d + s.pad_w - t * s.dilation_w, q = c / s.stride_w;
          if (c < 0 || q >= s.q || q * s.stride_w != c) continue;
          sum = fma(filter[r * s.s + t], image[p * s.q + q], sum);
        }
      }
    }
    dx[index] = sum;
  });
}

template <class T>
__global__ void direct_grad_weight_kernel(ConvShape s, const T* x, const T* dy, T* dw) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  for_each_result(s.k * channels * s.r * s.s, [&](int64_t index) {
    const Digits4 at = digits_of(index, channels, s.r, s.s);
    const int64_t h0 = at.c * s.dilation_h - s.pad_h, w0 = at.d * s.dilation_w - s.pad_w;
    T sum = 0;
    for (int64_t n = 0; n < s.n; ++n) {
      const T* image = x + (n * s.c + at.a / filters * channels + at.b) * s.h * s.w;
      const T* grad = dy + (n * s.k + at.a) * s.p * s.q;
      for (int64_t p = 0; p < s.p; ++p) {
        const int64_t row = h0 + p * s.stride_h;
        if (row < 0 || row >= s.h) continue;
        for (int64_t q = 0; q < s.q; ++q) {
          const int64_t col = w0 + q * s.stride_w;
          if (col >= 0 && col < s.w) sum = fma(grad[p * s.q + q], image[row * s.w + col], sum);
        }
      }
    }
    dw[index] = sum;
  });
}

inline dim3 direct_grid(const Context& ctx, int64_t results) {
  const int64_t blocks = ceil_div<int64_t>(results, kDirectThreads), most = ctx.multiprocessors * 64;
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

template <class T>
Status direct_forward(Context& ctx, const ConvParams& p, const ConvShape& s) {
  return launch<direct_forward_kernel<T>>(ctx, direct_grid(ctx, s.n * s.k * s.p * s.q), dim3(kDirectThreads),
                                          0, s, static_cast<const T*>(p.x), static_cast<const T*>(p.w),
                                          static_cast<const T*>(p.bias), p.activation == Activation::relu,
                                          static_cast<T*>(p.out));
}
template <class T>
Status direct_grad_input(Context& ctx, const ConvParams& p, const ConvShape& s) {
  return launch<direct_grad_input_kernel<T>>(ctx, direct_grid(ctx, s.n * s.c * s.h * s.w),
                                             dim3(kDirectThreads), 0, s, static_cast<const T*>(p.dy),
                                             static_cast<const T*>(p.w), static_cast<T*>(p.out));
}
template <class T>
Status direct_grad_weight(Context& ctx, const ConvParams& p, const ConvShape& s) {
  return launch<direct_grad_weight_kernel<T>>(ctx, direct_grid(ctx, s.k * (s.c / s.groups) * s.r * s.s),
                                              dim3(kDirectThreads), 0, s, static_cast<const T*>(p.x),
                                              static_cast<const T*>(p.dy), static_cast<T*>(p.out));
}

}  // namespace fastnn::cuda
