// The kernels of one instruction set: the only symbol of this build that the rest of the library sees.
#include "backend/kernel.h"

namespace fastnn::FASTNN_ISA {
FASTNN_FAMILIES(FASTNN_DECLARE_FAMILY)
}  // namespace fastnn::FASTNN_ISA

#define FASTNN_PASTE(a, b) a##b
#define FASTNN_SYMBOL(isa) FASTNN_PASTE(fastnn_cpu_kernels_, isa)

extern "C" __attribute__((visibility("hidden"))) void FASTNN_SYMBOL(FASTNN_ISA)(fastnn::Kernels& kernels) {
  using namespace fastnn;
  using namespace fastnn::FASTNN_ISA;
  FASTNN_FAMILIES(FASTNN_ENTER_FAMILY)
}
