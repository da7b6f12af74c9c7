// The kernel table of one instruction set: the only symbol of this build that the rest of the library sees.
#include "backend/kernel_table.h"

namespace fastnn::FASTNN_ISA {
#define FASTNN_DECLARE(family) __attribute__((weak)) void export_##family(KernelTable& table);
FASTNN_FAMILIES(FASTNN_DECLARE)
}  // namespace fastnn::FASTNN_ISA

#define FASTNN_PASTE(a, b) a##b
#define FASTNN_SYMBOL(isa) FASTNN_PASTE(fastnn_cpu_kernels_, isa)

extern "C" __attribute__((visibility("hidden"))) void FASTNN_SYMBOL(FASTNN_ISA)(fastnn::KernelTable& table) {
#define FASTNN_CALL(family) \
  if (fastnn::FASTNN_ISA::export_##family) fastnn::FASTNN_ISA::export_##family(table);
  FASTNN_FAMILIES(FASTNN_CALL)
}
