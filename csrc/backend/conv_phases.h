// The input gradient of a convolution whose filters step by more than one pixel, cut into phases.
//
// Of one dimension of dx, the pixels residue, residue + stride, ... all meet the same taps. So a phase, one
// per residue of the stride, is a dense convolution of dy with some of the taps, and nothing is multiplied
// with zeros put between pixels.
#pragma once
#include <stdint.h>

namespace fastnn {

struct Phase {
  int64_t pixels;             // residue + i * stride for i < pixels
  int64_t first, step, taps;  // taps first, first + step, ...: none may be left
  int64_t start, move;        // pixel i meets pixel start + i + t * move of dy at the t-th tap
};

inline Phase phase_of(int64_t residue, int64_t size, int64_t stride, int64_t pad, int64_t dilation,
                      int64_t kernel) {
  // Pixel o of dy and tap t reach pixel o * stride + t * dilation - pad of dx.
  const auto meets = [&](int64_t t) { return (residue + pad - t * dilation) % stride == 0; };
  Phase f{.pixels = residue < size ? (size - residue - 1) / stride + 1 : 0,
          .first = 0,
          .step = 1,
          .taps = 0,
          .start = 0,
          .move = 0};
  while (f.first < kernel && f.first < stride && !meets(f.first)) ++f.first;
  if (f.first >= kernel || f.first >= stride) return f;
  while (f.step * dilation % stride != 0) ++f.step;
  f.taps = (kernel - f.first - 1) / f.step + 1;
  f.start = (residue + pad - f.first * dilation) / stride;
  f.move = -(f.step * dilation / stride);
  return f;
}

}  // namespace fastnn
