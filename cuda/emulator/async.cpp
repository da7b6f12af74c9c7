// cp.async: the copy happens at some time between issue and wait, usually as late as it can.
#include "runtime.h"

namespace fastnn::emulator {
void finish_copies(Fiber&) {}
void maybe_copy_some(Fiber&) {}
}  // namespace fastnn::emulator
