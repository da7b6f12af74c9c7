// Indexing by integer and boolean tensors.
#pragma once
#include <vector>

#include "../core/tensor.h"

namespace fastnn {

// x[indices[0], indices[1], ...] with NumPy's rules: indices[i] selects along dimension i, an undefined one takes it whole;
// integer tensors broadcast against each other, a bool tensor covers as many dimensions as it has.
Tensor index(const Tensor& x, const std::vector<Tensor>& indices);
void index_put_(const Tensor& x, const std::vector<Tensor>& indices, const Tensor& value);

}  // namespace fastnn
