// Views of the same memory, and joining.
#pragma once
#include "ops/view/view.h"
#include "python/convert.h"

namespace fastnn {

// As a method that takes its dimensions one by one too: x.reshape(2, 3).
template <Tensor (*op)(const Tensor&, const Dims&)>
Tensor spread(const Tensor& x, const RestDims& rest) {
  return op(x, rest.dims);
}

inline Tensor view(const Tensor& x, const Dims& shape) {
  Tensor y = reshape(x, shape);
  check(y.impl()->storage.get() == x.impl()->storage.get(), ErrorKind::runtime,
        "view: the strides of this tensor do not allow that shape without a copy; use reshape()");
  return y;
}

inline void define_view(Definitions& d) {
  d.function("reshape(x, shape)", reshape, "The same elements in another shape; one dimension may be -1.");
  d.method("reshape(self, *shape)", spread<reshape>,
           "The same elements in another shape; one dimension may be -1. Shares memory where strides allow.");
  d.method("view(self, *shape)", spread<view>, "As reshape, but always shares memory.");
  d.function("permute(x, dims)", permute, "Dimensions in another order.");
  d.method("permute(self, *dims)", spread<permute>, "Dimensions in another order.");
  d.method("expand(self, *shape)", spread<expand>, "Repeats dimensions of size 1 without copying.");
  d.op("transpose(x, dim0, dim1)", transpose, "Two dimensions swapped.");
  d.op("squeeze(x, dim=None)", squeeze, "Without dimensions of size 1 (or without that one).");
  d.op("unsqueeze(x, dim)", unsqueeze, "With a new dimension of size 1.");
  d.op("flatten(x, start_dim=0, end_dim=-1)", flatten, "Dimensions start_dim..end_dim merged into one.");
  d.function("cat(tensors, dim=0)", cat, "Tensors joined along a dimension.");
  d.function("narrow(x, dim, start, length)", narrow, "A range of one dimension.");
}

}  // namespace fastnn
