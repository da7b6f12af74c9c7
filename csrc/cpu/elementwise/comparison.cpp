// Comparisons.
#include "cpu/elementwise/rows.h"

namespace fastnn::FASTNN_ISA {
FASTNN_ROW_KERNELS(comparison, FASTNN_COMPARISON)
}  // namespace fastnn::FASTNN_ISA
