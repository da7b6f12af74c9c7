// Tensor's operators, its truth and numbers, its elements.
#pragma once
#include <vector>

#include "python/object.h"
#include "python/tensor.h"

namespace fastnn {

std::vector<PyType_Slot> operator_slots();
Object item(const Tensor& t);  // the value of a tensor of one element, as a Python number

}  // namespace fastnn
