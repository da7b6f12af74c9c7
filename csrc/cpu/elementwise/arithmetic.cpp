// Sums, products, extrema.
#include "cpu/elementwise/rows.h"

namespace fastnn::FASTNN_ISA {
FASTNN_ROW_KERNELS(arithmetic, FASTNN_ARITHMETIC)
}  // namespace fastnn::FASTNN_ISA
