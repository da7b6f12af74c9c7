// Comparisons.
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
FASTNN_ROW_KERNELS(comparison, FASTNN_COMPARISON)
}  // namespace fastnn::cuda
