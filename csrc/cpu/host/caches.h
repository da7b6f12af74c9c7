// The caches of the processor this runs on.
#pragma once
#include "backend/context.h"

namespace fastnn {

// Read once, at the first call; FASTNN_CACHES="32K,512K,16M" takes their place, so that a machine can be
// tried that is not there.
const Caches& caches();

}  // namespace fastnn
