// Reductions over some or all dimensions.
#pragma once
#include <optional>
#include <utility>

#include "core/tensor.h"

namespace fastnn {

using OptionalDims = std::optional<Dims>;  // none: all dimensions

Tensor sum(const Tensor& x, const OptionalDims& dims = {},
           bool keepdim = false);  // integers and bools: int64
Tensor mean(const Tensor& x, const OptionalDims& dims = {}, bool keepdim = false);

// The largest (smallest) elements; their gradient goes to equal elements in equal parts. NaN wins.
Tensor max(const Tensor& x);
Tensor min(const Tensor& x);
// Along dims, with the position of the first of the best, in row-major order of dims; the gradient goes
// there.
std::pair<Tensor, Tensor> max(const Tensor& x, const Dims& dims, bool keepdim);
std::pair<Tensor, Tensor> min(const Tensor& x, const Dims& dims, bool keepdim);
Tensor argmax(const Tensor& x, const OptionalDims& dims = {}, bool keepdim = false);
Tensor argmin(const Tensor& x, const OptionalDims& dims = {}, bool keepdim = false);

Tensor all(const Tensor& x, const OptionalDims& dims = {},
           bool keepdim = false);  // whether every element is not 0
Tensor any(const Tensor& x, const OptionalDims& dims = {}, bool keepdim = false);

}  // namespace fastnn
