// Which backends there are: the CPU's always; CUDA's is a library that is opened at the first question about
// it.
#pragma once
#include "backend/backend.h"

namespace fastnn {

const char* cuda_why_not();  // null when CUDA can be used; else a sentence
bool lost_in_fork();         // this process is the child of one that had used CUDA: here it cannot be used

}  // namespace fastnn
