// Reductions over some or all dimensions.
#pragma once
#include <optional>
#include <utility>

#include "../core/tensor.h"

namespace fastnn {

using OptionalDims = std::optional<Dims>;  // none: all dimensions

Tensor sum(const Tensor& x, const OptionalDims& dims = {}, bool keepdim = false);

}  // namespace fastnn
