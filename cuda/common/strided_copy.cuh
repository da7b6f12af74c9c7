// Copies between strided nests of elements, which move as bits: one kernel for all types of a size.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Operand 0 = operand 1, for elements of 1, 2, 4 or 8 bytes; in order on ctx's stream. Needs no workspace.
Status copy_strided(const Context& ctx, int size, const Loop<2>& loop, char* const (&base)[2]);

}  // namespace fastnn::cuda
