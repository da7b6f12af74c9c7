// Nests of loops over strided memory, walked by a linear index: the offset of the i-th element in row-major
// order.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// FastDivide for dividends below 2^63.
struct WideDivide {
  uint64_t divisor = 1, multiplier = 0;
  unsigned shift = 0;

  WideDivide() = default;
  __host__ explicit WideDivide(uint64_t d) : divisor(d) {
    using Product = unsigned __int128;
    while ((Product{1} << shift) < d) ++shift;
    multiplier = static_cast<uint64_t>((((Product{1} << shift) - d) << 64) / d + 1);
  }
  __device__ int64_t quotient(int64_t n) const {
    const uint64_t dividend = static_cast<uint64_t>(n);
    const uint64_t high = static_cast<uint64_t>(static_cast<unsigned __int128>(dividend) * multiplier >> 64);
    return static_cast<int64_t>((high + dividend) >> shift);
  }
};

// One operand's strides in a nest.
struct Nest {
  int ndim;
  int64_t stride[kMaxDims];
  WideDivide size[kMaxDims];

  template <int N>
  __host__ Nest(const Loop<N>& loop, int operand) : ndim(loop.ndim) {
    for (int d = 0; d < ndim; ++d) {
      stride[d] = loop.stride[operand][d];
      size[d] = WideDivide(static_cast<uint64_t>(loop.shape[d] > 0 ? loop.shape[d] : 1));
    }
  }
  __device__ int64_t offset(int64_t i) const {
    int64_t at = 0;
    for (int d = ndim - 1; d > 0; --d) {
      const int64_t quotient = size[d].quotient(i);
      at += (i - quotient * static_cast<int64_t>(size[d].divisor)) * stride[d];
      i = quotient;
    }
    return at + i * stride[0];
  }
};

}  // namespace fastnn::cuda
