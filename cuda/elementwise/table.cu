// The elementwise family's table, entered by the files of its parts.
#include "backend/elementwise.h"
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

void enter_elementwise(ElementwiseTable& table);
void enter_activation(ElementwiseTable& table);
void enter_copy(ElementwiseTable& table);

const void* elementwise_kernels() {
  static const ElementwiseTable kernels = [] {
    ElementwiseTable table{};
    enter_elementwise(table);
    enter_activation(table);
    enter_copy(table);
    return table;
  }();
  return &kernels;
}

}  // namespace fastnn::cuda
