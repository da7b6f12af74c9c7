// Sizes, powers, exponentials.
#include "cpu/elementwise/rows.h"

namespace fastnn::FASTNN_ISA {
FASTNN_ROW_KERNELS(power, FASTNN_POWER)
}  // namespace fastnn::FASTNN_ISA
