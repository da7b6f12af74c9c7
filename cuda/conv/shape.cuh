// What is worked out about a convolution on the host: its phases, and whether 32-bit indices do.
#pragma once
#include "backend/conv.h"
#include "backend/conv_phases.h"
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Filters of one pixel that step by one see no rows: their images are single rows, and longer ones.
inline ConvShape flatten(ConvShape s) {
  if (s.r == 1 && s.s == 1 && s.p == s.h && s.q == s.w && s.pad_h == 0 && s.pad_w == 0) {
    s.w *= s.h, s.q *= s.p;
    s.h = 1, s.p = 1;
  }
  return s;
}

// Rows and columns, with what is added to them, far from overflow in 32 bits, and every dimension of the
// products countable in 31.
inline bool fits_32_bits(const ConvShape& s) {
  constexpr double kIndex = 0x7fffff00, kPosition = 0x1fffffff;
  const auto product = [](int64_t a, int64_t b, int64_t c) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
  };
  const auto reach = [](int64_t size, int64_t pad, int64_t outputs, int64_t stride, int64_t taps,
                        int64_t dilation) {
    return static_cast<double>(size) + static_cast<double>(pad) +
           static_cast<double>(outputs) * static_cast<double>(stride) +
           static_cast<double>(taps) * static_cast<double>(dilation);
  };
  return product(s.n, s.h, s.w) < kIndex && product(s.n, s.p, s.q) < kIndex &&
         product(s.c, s.r, s.s) < kIndex && product(s.k, s.r, s.s) < kIndex &&
         reach(s.h, s.pad_h, s.p, s.stride_h, s.r, s.dilation_h) < kPosition &&
         reach(s.w, s.pad_w, s.q, s.stride_w, s.s, s.dilation_w) < kPosition;
}

}  // namespace fastnn::cuda
