// Which backends there are: the CPU's always; CUDA's lives in a library of its own, which this build does not
// have yet.
#include "loader.h"

namespace fastnn {

const Backend* find_backend(DeviceType type) { return type == DeviceType::cpu ? &cpu_backend() : nullptr; }

const char* cuda_why_not() { return "fastnn was built without CUDA"; }

}  // namespace fastnn
