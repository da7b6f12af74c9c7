// A dimension of a product that stands for three of a tensor, where an operand or the result is images.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

struct alignas(16) ImagePlace {
  int64_t offset;
  int h, w;  // the image's row and column, or a part of them
};
// From shared memory, in one access.
__device__ inline ImagePlace load_place(const ImagePlace* p) {
  const longlong2 v = *reinterpret_cast<const longlong2*>(p);
  return {v.x, static_cast<int>(v.y), static_cast<int>(v.y >> 32)};
}

// index = (d0 * extent1 + d1) * extent2 + d2, below 2^31.
struct Axis {
  FastDivide outer, inner;  // by extent1 * extent2, by extent2
  int64_t start, stride0, stride1, stride2;
  int h_start, h_step, w_start, w_step;  // d1 is at row h_start + d1 * h_step, d2 at a column likewise

  Axis() = default;
  Axis(int64_t extent1, int64_t extent2, int64_t stride0, int64_t stride1, int64_t stride2)
      : outer(static_cast<unsigned>(extent1 * extent2)),
        inner(static_cast<unsigned>(extent2)),
        start(0),
        stride0(stride0),
        stride1(stride1),
        stride2(stride2),
        h_start(0),
        h_step(0),
        w_start(0),
        w_step(0) {}

  __device__ ImagePlace place(unsigned index) const {
    const unsigned d0 = outer.quotient(index), rest = index - d0 * outer.divisor;
    const unsigned d1 = inner.quotient(rest), d2 = rest - d1 * inner.divisor;
    return {start + d0 * stride0 + d1 * stride1 + d2 * stride2, h_start + static_cast<int>(d1) * h_step,
            w_start + static_cast<int>(d2) * w_step};
  }
};

}  // namespace fastnn::cuda
