// The elementwise family's table, entered by a unit per group of rows and by that of copies.
#include "backend/elementwise.h"

namespace fastnn::FASTNN_ISA {

#pragma GCC visibility push(hidden)
#define FASTNN_DECLARE_GROUP(group, ROWS) void enter_##group(ElementwiseTable& table);
FASTNN_GROUPS(FASTNN_DECLARE_GROUP)
void enter_copy(ElementwiseTable& table);
#pragma GCC visibility pop

const void* elementwise_kernels() {
  static const ElementwiseTable kernels = [] {
    ElementwiseTable table{};
#define FASTNN_ENTER_GROUP(group, ROWS) enter_##group(table);
    FASTNN_GROUPS(FASTNN_ENTER_GROUP)
    enter_copy(table);
    return table;
  }();
  return &kernels;
}

}  // namespace fastnn::FASTNN_ISA
