// Memory that others made or will read: what NumPy, DLPack and the CUDA array interface have in common.
#pragma once
#include "core/tensor.h"
#include "python/module.h"

namespace fastnn {

void define_numpy(Definitions& d);       // numpy.cpp
void define_dlpack(Definitions& d);      // dlpack.cpp
void define_cuda_array(Definitions& d);  // cuda_array.cpp

// Memory lent to us may be freed from a thread that does not hold Python's lock.
void drop_python_object(void* owner);

// An object that keeps the memory of a tensor alive, whatever becomes of the tensor.
Object owner_of(const Tensor& t);
bool owns(const Object& owner, const Tensor& t);

// The __array_interface__ of a tensor, which the CUDA array interface shares.
Dict array_interface(const Tensor& t, const void* address);
void* address_of(const Object& number);

// Bytes that are to be bools must be 0 or 1, as those of files must.
void check_bools(const char* op, const Tensor& t);

Device cuda_device(const char* op, int64_t index);

// Memory of somebody else's must be where it is said to be: a kernel that meets the wrong memory ends the
// process's use of the device.
void check_place(const char* op, const void* memory, const Dims& shape, DType dtype, Device device);

// How DLPack and the CUDA array interface spell streams as numbers: 1 is the legacy default stream, 2 each
// thread's default stream, others are handles.
inline void* foreign_stream(int64_t number) { return reinterpret_cast<void*>(number == 0 ? 1 : number); }
int64_t stream_number(Device device);  // of the one that work is queued on now
int64_t stream_given(const char* op, const Object& stream, int64_t least);

}  // namespace fastnn
