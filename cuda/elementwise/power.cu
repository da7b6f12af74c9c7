// Sizes, powers, exponentials.
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
FASTNN_ROW_KERNELS(power, FASTNN_POWER)
}  // namespace fastnn::cuda
