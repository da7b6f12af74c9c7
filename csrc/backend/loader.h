#pragma once
#include "backend.h"

namespace fastnn {

const char* cuda_why_not();  // null when CUDA can be used

}  // namespace fastnn
