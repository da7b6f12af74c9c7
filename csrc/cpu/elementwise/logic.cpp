// Logic on bools.
#include "cpu/elementwise/rows.h"

namespace fastnn::FASTNN_ISA {
FASTNN_ROW_KERNELS(logic, FASTNN_LOGIC)
}  // namespace fastnn::FASTNN_ISA
