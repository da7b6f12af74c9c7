// The cache of the processor this runs on by which kernels cut their work.
#pragma once
#include <stdint.h>

namespace fastnn {

// Bytes of second-level cache that one core has. Read once, at the first call; FASTNN_L2="512K" takes its
// place, so that a machine can be tried that is not there.
int64_t l2_bytes();

}  // namespace fastnn
