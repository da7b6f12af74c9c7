// Reductions over some or all dimensions.
#pragma once
#include "ops/reduce/reduce.h"
#include "python/convert.h"

namespace fastnn {

// max(x) is a tensor, max(x, dim) a pair of values and positions, as in PyTorch.
template <Tensor (*of_all)(const Tensor&),
          std::pair<Tensor, Tensor> (*along)(const Tensor&, const Dims&, bool)>
Object extremum(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  if (!dims) return Object::owned(wrap(of_all(x)));
  return Object::owned(To<std::pair<Tensor, Tensor>>::of(along(x, *dims, keepdim)));
}

inline void define_reduce(Definitions& d) {
  d.op("sum(x, dim=None, keepdim=False)", sum,
       "Sum over all dimensions or those named; of integers and bools as int64.");
  d.op("mean(x, dim=None, keepdim=False)", mean, "Mean over all dimensions or those named.");
  d.op("max(x, dim=None, keepdim=False) -> Tensor | tuple[Tensor, Tensor]", extremum<max, max>,
       "The largest element; with dim, a pair of values and their first positions. NaN wins.");
  d.op("min(x, dim=None, keepdim=False) -> Tensor | tuple[Tensor, Tensor]", extremum<min, min>,
       "The smallest element; with dim, a pair of values and their first positions. NaN wins.");
  d.op("argmax(x, dim=None, keepdim=False)", argmax,
       "Position of the first largest element, in row-major order of the dimensions.");
  d.op("argmin(x, dim=None, keepdim=False)", argmin,
       "Position of the first smallest element, in row-major order of the dimensions.");
  d.op("all(x, dim=None, keepdim=False)", all, "Whether every element differs from 0.");
  d.op("any(x, dim=None, keepdim=False)", any, "Whether some element differs from 0.");
}

}  // namespace fastnn
