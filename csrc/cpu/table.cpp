// The kernels of one instruction set: the only symbol of this build that the rest of the library sees.
#include "backend/kernel.h"

// Hidden, so that a family without kernels is an error when the extension is linked, not when it is imported.
#pragma GCC visibility push(hidden)
namespace fastnn::FASTNN_ISA {
FASTNN_FAMILIES(FASTNN_DECLARE_FAMILY)
}  // namespace fastnn::FASTNN_ISA
#pragma GCC visibility pop

#define FASTNN_PASTE(a, b) a##b
#define FASTNN_SYMBOL(isa) FASTNN_PASTE(fastnn_cpu_kernels_, isa)

extern "C" __attribute__((visibility("hidden"))) void FASTNN_SYMBOL(FASTNN_ISA)(fastnn::Kernels& kernels) {
  using namespace fastnn;
  using namespace fastnn::FASTNN_ISA;
  FASTNN_FAMILIES(FASTNN_ENTER_FAMILY)
}
