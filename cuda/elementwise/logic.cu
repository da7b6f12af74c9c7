// Logic on bools.
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
FASTNN_ROW_KERNELS(logic, FASTNN_LOGIC)
}  // namespace fastnn::cuda
