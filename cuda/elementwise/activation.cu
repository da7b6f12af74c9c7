// Activations.
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
FASTNN_ROW_KERNELS(activation, FASTNN_ACTIVATION)
}  // namespace fastnn::cuda
