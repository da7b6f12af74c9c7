// Indexing by tensors.
#pragma once
#include "ops/index/index.h"
#include "python/convert.h"

namespace fastnn {

inline void define_index(Definitions& d) {
  d.op("nonzero(x)", nonzero, "Coordinates of the elements that are not 0: shape (n, dimensions).");
  d.op("gather(x, dim, index)", static_cast<Tensor (*)(const Tensor&, int64_t, const Tensor&)>(gather),
       "x at index along dim, the other coordinates being the index's own.");
}

}  // namespace fastnn
