// Chooses the instruction set the kernels run with.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

struct Isa {
  const char* name;
  bool supported;  // by this processor and operating system
  void (*fill)(Kernels&);
};

// Every set built into this library, best first.
const Isa* isas(int* count);

// The best supported one, or the one FASTNN_ISA names; a name that is unknown or not supported throws.
const Isa& current_isa();

}  // namespace fastnn
