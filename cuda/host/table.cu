// The CUDA backend's kernels, family by family.
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

FASTNN_FAMILIES(FASTNN_DECLARE_FAMILY)

const Kernels& kernel_table() {
  static const Kernels table = [] {
    Kernels kernels{};
    FASTNN_FAMILIES(FASTNN_ENTER_FAMILY)
    return kernels;
  }();
  return table;
}

}  // namespace fastnn::cuda
