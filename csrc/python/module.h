// The parts of the extension module, in the order in which module.cpp defines them.
#pragma once
#include "python/function.h"

namespace fastnn {

void define_runtime(Definitions& d);           // runtime.cpp: threads, memory
void define_types(Definitions& d);             // types.cpp: the dtypes
void define_tensor_type(Definitions& d);       // tensor.cpp: the type, its attributes
void define_exchange(Definitions& d);          // numpy.cpp, dlpack.cpp, cuda_array.cpp: memory of others
void define_autograd(Definitions& d);          // autograd.cpp: backward, grad, hooks, the tape
void define_python_functions(Definitions& d);  // python_function.cpp: ops written in Python
void define_ops(Definitions& d);               // ops.cpp: a table per family
void define_profile(Definitions& d);           // profile.cpp: counts and times of ops
void define_trace(Definitions& d);             // trace.cpp: what ops announce
void define_cuda(Definitions& d);              // cuda.cpp: devices, streams, events

}  // namespace fastnn
