// Products of which nothing can be reused: a vector with a matrix, and two vectors.
#pragma once
#include "cpu/gemm/plan.h"

namespace fastnn::FASTNN_ISA {

// Elements [j0, j1) of the row C, by a path of vectors.
template <class T>
void vector_part(const Product<T>& g, Path path, int64_t j0, int64_t j1);

}  // namespace fastnn::FASTNN_ISA
