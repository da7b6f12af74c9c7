// Products of a short k.
#pragma once
#include "cpu/gemm/plan.h"

namespace fastnn::FASTNN_ISA {

// Rows [i0, i1) of a product of Path::outer, whose B has its rows along memory.
template <class T>
void outer_part(const Product<T>& g, int64_t i0, int64_t i1);

}  // namespace fastnn::FASTNN_ISA
