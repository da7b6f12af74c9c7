// DLPack: tensors that share memory with any other library that speaks it.
#include "core/autograd.h"
#include "core/launch.h"
#include "ops/elementwise/copy.h"
#include "ops/view/device.h"
#include "python/convert.h"
#include "python/exchange.h"

namespace fastnn {
namespace {

// ---- the DLPack ABI (version 0.8, https://dmlc.github.io/dlpack)

struct DLDevice {
  int32_t type, id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
enum : int32_t { kDLCPU = 1, kDLCUDA = 2 };
enum : uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 };

DLDataType dl_dtype(DType t) {
  const uint8_t bits = static_cast<uint8_t>(8 * size_of(t));
  switch (t) {
    case DType::bfloat16:
      return {kDLBfloat, bits, 1};
    case DType::int64:
    case DType::int32:
      return {kDLInt, bits, 1};
    case DType::uint8:
      return {kDLUInt, bits, 1};
    case DType::boolean:
      return {kDLBool, bits, 1};
    default:
      return {kDLFloat, bits, 1};
  }
}

DType from_dl(DLDataType t) {
  for (int i = 0; i < kDTypes; ++i) {
    const DLDataType ours = dl_dtype(static_cast<DType>(i));
    if (ours.code == t.code && ours.bits == t.bits && t.lanes == 1) return static_cast<DType>(i);
  }
  fail(ErrorKind::type, "from_dlpack: element type with code ", int{t.code}, ", ", int{t.bits}, " bits and ",
       t.lanes, " lanes is not supported");
}

// What a capsule of ours keeps alive: a tensor of its own, for `x.data = ...` gives the one that was asked
// another storage.
struct Export {
  DLManagedTensor managed;
  Tensor tensor;
};

DLDevice dl_device(const Tensor& t) {
  return {t.device().type == DeviceType::cpu ? kDLCPU : kDLCUDA, t.device().index};
}

// The consumer's stream waits for what ours is doing to the memory; -1: it will see to that itself.
void let_wait(const Tensor& t, const Object& stream) {
  const int64_t number = stream.is_none() ? 1 : stream_given("__dlpack__", stream, -1);
  if (t.device().type == DeviceType::cpu || number == -1 || number == stream_number(t.device())) return;
  const Backend& backend = backend_of(t.device());
  const int index = t.device().index;
  const Status status = backend.streams->order(
      index, backend.streams->handle(index, backend.context(index).stream_number), foreign_stream(number));
  if (status != Status::ok) fail_launch("__dlpack__", status, t.device());
}

[[noreturn]] void refuse_buffer(const std::string& message) {
  PyErr_SetString(PyExc_BufferError, message.c_str());
  throw_python_error();
}

// What the consumer asked for: another device, a copy.
Tensor as_asked(const Tensor& t, const Object& place, const Object& copy) {
  const bool must_copy = !copy.is_none() && truth_of(copy), may_copy = copy.is_none() || must_copy;
  Tensor out = t;
  if (!place.is_none()) {
    const int64_t type = integer_of(place.item(0)), id = integer_of(place.item(1));
    const bool cpu = type == kDLCPU;
    if ((!cpu && type != kDLCUDA) || id < 0 || id >= kMaxDevices)
      refuse_buffer("__dlpack__: there is no DLPack device (" + std::to_string(type) + ", " +
                    std::to_string(id) + ") here");
    out = to_device(t, cpu ? Device{} : Device{DeviceType::cuda, static_cast<int8_t>(id)});
    if (!may_copy && out.impl() != t.impl())
      refuse_buffer("__dlpack__: another device is asked for, and copy=False");
  }
  return must_copy && out.impl() == t.impl() ? clone(t) : out;
}

Object to_dlpack(const Tensor& given, const Object& stream, const Object& place, const Object& copy) {
  check(!given.requires_grad(), ErrorKind::runtime, "__dlpack__: the tensor requires grad; use detach()");
  const Tensor t = detach(as_asked(given, place, copy));
  check(!t.impl()->storage->read_only, ErrorKind::value,
        "__dlpack__: the tensor shares a read-only NumPy array, which DLPack cannot say; use clone()");
  let_wait(t, stream);
  auto* e = new Export{{}, t};
  e->managed.tensor = {t.data(),
                       dl_device(t),
                       t.dim(),
                       dl_dtype(t.dtype()),
                       t.impl()->shape.begin(),
                       t.impl()->strides.begin(),
                       0};
  e->managed.context = e;
  e->managed.deleter = [](DLManagedTensor* m) {
    const Locked lock;
    delete static_cast<Export*>(m->context);
  };
  PyObject* capsule = PyCapsule_New(&e->managed, "dltensor", [](PyObject* capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // taken over by a consumer
    auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    m->deleter(m);
  });
  if (!capsule) delete e;
  return Object::owned(capsule);
}

// The capsule of an object; one on a CUDA device is told the stream that will use its memory.
Object capsule_of(const Object& source) {
  if (PyCapsule_CheckExact(source.get())) return source;
  check_type(source.has("__dlpack__"), "from_dlpack: expected an object with __dlpack__, got ",
             Py_TYPE(source.get())->tp_name);
  const Object make = source.attr("__dlpack__");
  if (!source.has("__dlpack_device__")) return make();
  const Object device = source.attr("__dlpack_device__")();
  if (integer_of(device.item(0)) != kDLCUDA) return make();
  Dict options;
  options.set("stream", integer(stream_number(cuda_device("from_dlpack", integer_of(device.item(1))))));
  return Object::owned(PyObject_Call(make.get(), tuple_of().get(), options.object().get()));
}

Tensor from_dlpack(const Object& source) {
  const Object capsule = capsule_of(source);
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.get(), "dltensor"));
  if (!m) throw_python_error();
  const DLTensor& t = m->tensor;
  check(t.device.type == kDLCPU || t.device.type == kDLCUDA, ErrorKind::runtime,
        "from_dlpack: only memory of the CPU and of CUDA devices can be imported, got device type ",
        t.device.type);
  check(t.ndim <= kMaxDims, ErrorKind::value, "from_dlpack: ", t.ndim, " dimensions; at most ", kMaxDims,
        " are supported");
  const bool cuda = t.device.type == kDLCUDA;
  const Device device = cuda ? cuda_device("from_dlpack", t.device.id) : Device{};
  backend_of(device);  // refuses one that cannot be used
  const DType dtype = from_dl(t.dtype);
  Dims shape;
  for (int i = 0; i < t.ndim; ++i) shape.push_back(t.shape[i]);
  checked_numel("from_dlpack", shape);
  Dims strides = row_major_strides(shape);
  for (int i = 0; t.strides && i < t.ndim; ++i) strides[i] = t.strides[i];
  char* memory = static_cast<char*>(t.data) + t.byte_offset;
  if (cuda) check_place("from_dlpack", memory, shape, dtype, device);
  Tensor y = from_memory(
      memory, shape, strides, dtype, device,
      [](void* owner) {
        auto* managed = static_cast<DLManagedTensor*>(owner);
        if (managed->deleter) managed->deleter(managed);
      },
      m);
  PyCapsule_SetName(capsule.get(), "used_dltensor");
  if (dtype == DType::boolean && !cuda) check_bools("from_dlpack", y);
  return y;
}

}  // namespace

void define_dlpack(Definitions& d) {
  d.function("from_dlpack(source)", from_dlpack,
             "A tensor that shares the memory of any object with __dlpack__.");
  // The standard's arguments; of versions, what this writes is the oldest that anyone asks for.
  d.method(
      "__dlpack__(self, *, stream=None, dl_device=None, copy=None, max_version=None)",
      [](const Tensor& t, const Object& stream, const Object& place, const Object& copy, PyObject*) {
        return to_dlpack(t, stream, place, copy);
      },
      "A capsule of the tensor's memory for another library.");
  d.method(
      "__dlpack_device__(self) -> tuple[int, int]",
      [](const Tensor& t) {
        const DLDevice device = dl_device(t);
        return tuple_of(integer(device.type), integer(device.id));
      },
      "DLPack's type and number of the tensor's device.");
}

}  // namespace fastnn
