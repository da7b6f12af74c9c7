// Which dtype operands of different dtypes meet in.
#pragma once
#include "core/operand.h"

namespace fastnn {

// PyTorch's promotion: tensors with dimensions outrank 0-d ones, which outrank Python numbers; within a rank,
// and where a lower rank has a higher category (bool < integer < float), the usual table.
DType promote(DType a, DType b);
DType result_type(const Tensor& a, const Tensor& b);
DType result_type(Spoken a, Spoken b);

// Whether a value of that dtype, of integers or bools, stands for the number.
bool fits(int64_t value, DType dtype);

}  // namespace fastnn
