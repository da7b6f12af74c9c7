// Nests of loops over strided memory: in parts that one launch can count, and walked by a linear index.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Calls run(loop, base) for parts of at most `limit` elements; `size` is the operands' bytes per element.
template <int N, class Run>
Status in_parts(const Loop<N>& loop, char* const (&base)[N], const int (&size)[N], int64_t limit,
                const Run& run) {
  if (loop.numel <= limit) return run(loop, base);
  const int64_t inner = loop.numel / loop.shape[0];
  const int64_t rows = inner < limit ? limit / inner : 1;
  for (int64_t row = 0; row < loop.shape[0]; row += rows) {
    Loop<N> part = loop;
    char* at[N];
    part.shape[0] = loop.shape[0] - row < rows ? loop.shape[0] - row : rows;
    part.numel = inner * part.shape[0];
    for (int k = 0; k < N; ++k) at[k] = base[k] + row * loop.stride[k][0] * size[k];
    if (part.shape[0] == 1 && part.ndim > 1) {
      --part.ndim;
      for (int d = 0; d < part.ndim; ++d) {
        part.shape[d] = loop.shape[d + 1];
        for (int k = 0; k < N; ++k) part.stride[k][d] = loop.stride[k][d + 1];
      }
    }
    if (const Status status = in_parts(part, at, size, limit, run); status != Status::ok) return status;
  }
  return Status::ok;
}

// Operand k of a nest becomes dense in row-major order.
template <int N>
void make_dense(Loop<N>& loop, int k) {
  int64_t step = 1;
  for (int d = loop.ndim - 1; d >= 0; --d) {
    loop.stride[k][d] = step;
    step *= loop.shape[d];
  }
}
template <int N>
bool is_dense(const Loop<N>& loop, int k) {
  int64_t step = 1;
  for (int d = loop.ndim - 1; d >= 0; --d) {
    if (loop.stride[k][d] != step) return false;
    step *= loop.shape[d];
  }
  return true;
}

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

// One operand's strides in a nest, for the offset of its i-th element in row-major order.
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
#pragma unroll 1
    for (int d = ndim - 1; d > 0; --d) {
      const int64_t quotient = size[d].quotient(i);
      at += (i - quotient * static_cast<int64_t>(size[d].divisor)) * stride[d];
      i = quotient;
    }
    return at + i * stride[0];
  }
};

}  // namespace fastnn::cuda
