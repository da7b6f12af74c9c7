// Indexing by integer and boolean tensors.
#pragma once
#include <functional>
#include <vector>

#include "backend/bad_index.h"
#include "core/tensor.h"

namespace fastnn {

// x[indices[0], indices[1], ...] with NumPy's rules: indices[i] selects along dimension i, an undefined one
// takes it whole; integer tensors broadcast against each other, a bool tensor covers as many dimensions as it
// has.
Tensor index(const Tensor& x, const std::vector<Tensor>& indices);
// Writes what the indices select of a view of x; without a view, of x.
using View = std::function<Tensor(const Tensor&)>;
void index_put_(const Tensor& x, const View& view, const std::vector<Tensor>& indices, const Tensor& value);

Tensor nonzero(const Tensor& x);  // (n, x.dim()): the coordinates of the elements that are not 0, in order

// y[.., i, ..] = x[.., index[.., i, ..], ..] along `dim`; the other dimensions of index are at most x's.
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
// The same for indices that the user knows as something else, which the rule tells of.
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index, const IndexRule& rule);
// Its adjoint: zeros of `shape` to which y is added at those places.
Tensor scatter_along(const Dims& shape, int64_t dim, const Tensor& index, const Tensor& y);

}  // namespace fastnn
