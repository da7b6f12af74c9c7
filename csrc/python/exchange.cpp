#include "python/exchange.h"

#include <algorithm>

#include "core/launch.h"

namespace fastnn {
namespace {

constexpr const char* kStorage = "fastnn.Storage";

}  // namespace

void drop_python_object(void* owner) {
  const Locked lock;
  Py_DECREF(static_cast<PyObject*>(owner));
}

Object owner_of(const Tensor& t) {
  Ref<Storage> storage = t.impl()->storage;
  Object owner = Object::owned(PyCapsule_New(storage.get(), kStorage, [](PyObject* capsule) {
    static_cast<Storage*>(PyCapsule_GetPointer(capsule, kStorage))->release();
  }));
  storage.detach();  // the capsule has its reference now
  return owner;
}

bool owns(const Object& owner, const Tensor& t) {
  return PyCapsule_GetPointer(owner.get(), kStorage) == t.impl()->storage.get();
}

Device cuda_device(const char* op, int64_t index) {
  check(index >= 0 && index < kMaxDevices, ErrorKind::runtime, op, ": there is no CUDA device ", index);
  return {DeviceType::cuda, static_cast<int8_t>(index)};
}

void check_place(const char* op, const void* memory, const Dims& shape, DType dtype, Device device) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  check_value(memory, op, ": elements at address 0");
  check_value(reinterpret_cast<uintptr_t>(memory) % size_of(dtype) == 0, op, ": the memory at ", memory,
              " is not aligned to its elements of ", size_of(dtype), " bytes");
  const int owner = backend_of(device).streams->owner(memory, device.index);
  if (owner == kHost) fail(ErrorKind::runtime, op, ": the memory at ", memory, " is of no CUDA device");
  check(owner == device.index, ErrorKind::runtime, op, ": the memory at ", memory, " is on cuda:", owner,
        ", not on ", device);
}

int64_t stream_number(Device device) {
  const Backend& backend = backend_of(device);
  const int index = device.index;
  void* handle = backend.streams->handle(index, backend.context(index).stream_number);
  return handle ? static_cast<int64_t>(reinterpret_cast<uintptr_t>(handle)) : 1;
}

int64_t stream_given(const char* op, const Object& stream, int64_t least) {
  check_type(PyLong_Check(stream.get()) && !PyBool_Check(stream.get()), op,
             ": stream must be an integer or None, not ", Py_TYPE(stream.get())->tp_name);
  const auto number = integer_of(stream);
  check_value(number >= least, op, ": there is no stream ", number);
  return number;
}

void define_exchange(Definitions& d) {
  define_numpy(d);
  define_dlpack(d);
  define_cuda_array(d);
}

}  // namespace fastnn
