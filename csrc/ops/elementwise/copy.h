// Moving elements: conversion of dtype and layout, filling, new tensors.
#pragma once
#include "core/operand.h"
#include "ops/view/device.h"

namespace fastnn {

Tensor cast(const Tensor& x, DType dtype);  // x itself where it has that dtype
Tensor contiguous(const Tensor& x);         // row-major; x itself where it is
Tensor clone(const Tensor& x);
void copy_into(const Tensor& dst, const Tensor& src);  // off the tape; src broadcasts to dst
Tensor copy_(const Tensor& x, const Tensor& src);      // x[...] = src
Tensor fill_(const Tensor& x, const Tensor& value);    // value: one element

// Which arrangements of memory a kernel reads.
enum Layout : unsigned {
  kRowMajor = 1,    // dense, last dimension fastest
  kTransposed = 2,  // dense, but the last two dimensions swapped in memory
  kLeadingStride =
      4,  // as row-major or transposed, with gaps between rows (columns): one of the last two strides is 1
};
// x where it has one of the allowed layouts, else a row-major copy (which every caller must allow).
Tensor as_layout(const Tensor& x, unsigned allowed);

// Memory as it comes, for a user who asks for it: ops take theirs by empty() of core/tensor.h.
Tensor new_empty(const Dims& shape, DType dtype, Device device);
Tensor new_empty_like(const Tensor& x);
Tensor zeros(const Dims& shape, DType dtype, Device device = {});
Tensor full(const Dims& shape, const Tensor& value, DType dtype, Device device = {});
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor arange(double start, double end, double step, DType dtype, Device device = {});
// Numbers: exact where all of them and the dtype are integers.
Tensor arange(const Operand& start, const Operand& end, const Operand& step, DType dtype, Device device);

}  // namespace fastnn
