// Other views of the same memory (a copy only where reshape cannot do without), and joining.
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace fastnn {

Tensor reshape(const Tensor& x, const Dims& shape);  // one dimension may be -1
Tensor permute(const Tensor& x, const Dims& dims);
Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1);
Tensor expand(const Tensor& x, const Dims& shape);  // -1 keeps a dimension
Tensor squeeze(const Tensor& x, std::optional<int64_t> dim);
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim);

// One dimension of a basic index: elements start, start + step, ...; dropped where a single integer chose it.
struct Slice {
  int64_t start, step, length;
  bool drop;
};
struct Slices {
  int n = 0;
  Slice dim[kMaxDims];  // one per dimension of the tensor
};
Tensor slice(const Tensor& x, const Slices& slices);
// A value to be written to a place of this shape: checked to broadcast, without surplus leading dimensions of
// size 1.
Tensor fit_value(const Tensor& value, const Dims& place);
void slice_put_(const Tensor& x, const Slices& slices, const Tensor& value);  // x[slices] = value
Tensor select(const Tensor& x, int64_t dim, int64_t index);
Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length);

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim);

}  // namespace fastnn
