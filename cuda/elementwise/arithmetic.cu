// Sums, products, extrema.
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
FASTNN_ROW_KERNELS(arithmetic, FASTNN_ARITHMETIC)
}  // namespace fastnn::cuda
