// Nests of loops over strided memory. Strides count elements, not bytes.
#pragma once
#include <stdint.h>

namespace fastnn {

constexpr int kMaxDims = 8;

// A nest over N operands; operand 0 is the output. Outermost dimension first, innermost last; dimensions that
// can be walked as one have been merged, size-1 dimensions dropped (a 0-d or one-element loop has ndim 1,
// shape {1}). A stride of 0 repeats an element (broadcasting). numel is the product of shape and may be 0.
template <int N>
struct Loop {
  int ndim;
  int64_t numel;
  int64_t shape[kMaxDims];
  int64_t stride[N][kMaxDims];
};

}  // namespace fastnn
