// The kernel table of the CUDA backend: every family's file enters its own kernels.
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

#define FASTNN_DECLARE(family) void export_##family(KernelTable& table);
FASTNN_FAMILIES(FASTNN_DECLARE)
#undef FASTNN_DECLARE

const KernelTable& kernel_table() {
  static const KernelTable table = [] {
    KernelTable t{};
#define FASTNN_ENTER(family) export_##family(t);
    FASTNN_FAMILIES(FASTNN_ENTER)
#undef FASTNN_ENTER
    return t;
  }();
  return table;
}

}  // namespace fastnn::cuda
