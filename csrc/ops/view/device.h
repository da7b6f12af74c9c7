// Moving tensors between devices.
#pragma once
#include "core/tensor.h"

namespace fastnn {

// x itself where it is there. With `non_blocking` a copy from pinned memory only gets queued: the caller
// leaves that memory alone until the device has read it.
Tensor to_device(const Tensor& x, Device device, bool non_blocking = false);

// An operand of `op` where `like` is. Only a single number moves by itself, a 0-d tensor on the CPU; any
// other must be there.
Tensor beside(const char* op, const Tensor& x, const Tensor& like);

// A copy in host memory that CUDA devices read by themselves, so that copies from it run beside other work.
Tensor pin_memory(const Tensor& x);

}  // namespace fastnn
