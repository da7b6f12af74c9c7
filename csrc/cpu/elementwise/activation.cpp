// Activations.
#include "cpu/elementwise/rows.h"

namespace fastnn::FASTNN_ISA {
FASTNN_ROW_KERNELS(activation, FASTNN_ACTIVATION)
}  // namespace fastnn::FASTNN_ISA
