// NumPy arrays and DLPack: memory that others made or will read, without copies where the dtypes allow.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "core/autograd.h"
#include "core/launch.h"
#include "ops/elementwise/copy.h"
#include "ops/view/device.h"
#include "python/types.h"

namespace fastnn {
namespace {

// Memory lent to us may be freed from a thread that does not hold Python's lock.
void drop_python_object(void* owner) {
  const PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF(static_cast<PyObject*>(owner));
  PyGILState_Release(state);
}

// ---- the DLPack ABI (version 0.8, https://dmlc.github.io/dlpack)
// ---------------------------------------------------------
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

struct Export {  // what a capsule of ours keeps alive
  DLManagedTensor managed;
  Tensor tensor;
};

DLDevice dl_device(const Tensor& t) {
  return {t.device().type == DeviceType::cpu ? kDLCPU : kDLCUDA, t.device().index};
}

// How DLPack and the CUDA array interface spell streams as numbers: 1 is the legacy default stream, 2 each
// thread's default stream, others are handles.
void* foreign_stream(int64_t number) { return reinterpret_cast<void*>(number == 0 ? 1 : number); }
int64_t stream_number(Device device) {
  const Backend& backend = backend_of(device);
  const int index = device.index;
  void* handle = backend.streams->handle(index, backend.context(index).stream_number);
  return handle ? static_cast<int64_t>(reinterpret_cast<uintptr_t>(handle)) : 1;
}

int64_t stream_given(const char* op, const py::object& stream, int64_t least) {
  check_type(PyLong_Check(stream.ptr()) && !PyBool_Check(stream.ptr()), op,
             ": stream must be an integer or None, not ", Py_TYPE(stream.ptr())->tp_name);
  const auto number = stream.cast<int64_t>();
  check_value(number >= least, op, ": there is no stream ", number);
  return number;
}

// The consumer's stream waits for what ours is doing to the memory; -1: it will see to that itself.
void let_wait(const Tensor& t, const py::object& stream) {
  const int64_t number = stream.is_none() ? 1 : stream_given("__dlpack__", stream, -1);
  if (t.device().type == DeviceType::cpu || number == -1 || number == stream_number(t.device())) return;
  const Backend& backend = backend_of(t.device());
  const int index = t.device().index;
  const Status status = backend.streams->order(
      index, backend.streams->handle(index, backend.context(index).stream_number), foreign_stream(number));
  if (status != Status::ok) fail_launch("__dlpack__", status, t.device());
}

// What the consumer asked for: another device, a copy.
Tensor as_asked(const Tensor& t, const py::object& place, const py::object& copy) {
  const bool must_copy = !copy.is_none() && copy.cast<bool>(), may_copy = copy.is_none() || must_copy;
  Tensor out = t;
  if (!place.is_none()) {
    const auto [type, id] = place.cast<std::pair<int, int>>();
    const bool cpu = type == kDLCPU;
    if ((!cpu && type != kDLCUDA) || id < 0 || id >= kMaxDevices)
      throw py::buffer_error("__dlpack__: there is no DLPack device (" + std::to_string(type) + ", " +
                             std::to_string(id) + ") here");
    out = to_device(t, cpu ? Device{} : Device{DeviceType::cuda, static_cast<int8_t>(id)});
    if (!may_copy && out.impl() != t.impl())
      throw py::buffer_error("__dlpack__: another device is asked for, and copy=False");
  }
  return must_copy && out.impl() == t.impl() ? clone(t) : out;
}

py::capsule to_dlpack(const Tensor& given, const py::object& stream, const py::object& place,
                      const py::object& copy) {
  check(!given.requires_grad(), ErrorKind::runtime, "__dlpack__: the tensor requires grad; use detach()");
  const Tensor t = as_asked(given, place, copy);
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
    const PyGILState_STATE state = PyGILState_Ensure();
    delete static_cast<Export*>(m->context);
    PyGILState_Release(state);
  };
  return py::capsule(&e->managed, "dltensor", [](PyObject* capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // taken over by a consumer
    auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    m->deleter(m);
  });
}

Device cuda_device(const char* op, int64_t index) {
  check(index >= 0 && index < kMaxDevices, ErrorKind::runtime, op, ": there is no CUDA device ", index);
  return {DeviceType::cuda, static_cast<int8_t>(index)};
}

// Memory of somebody else's must be where it is said to be: a kernel that meets the wrong memory ends the
// process's use of the device.
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

// The capsule of an object; one on a CUDA device is told the stream that will use its memory.
py::object capsule_of(const py::object& source) {
  if (PyCapsule_CheckExact(source.ptr())) return source;
  check_type(py::hasattr(source, "__dlpack__"), "from_dlpack: expected an object with __dlpack__, got ",
             Py_TYPE(source.ptr())->tp_name);
  if (!py::hasattr(source, "__dlpack_device__")) return source.attr("__dlpack__")();
  const py::tuple device = source.attr("__dlpack_device__")();
  if (device[0].cast<int>() != kDLCUDA) return source.attr("__dlpack__")();
  const Device here = cuda_device("from_dlpack", device[1].cast<int64_t>());
  return source.attr("__dlpack__")(py::arg("stream") = stream_number(here));
}

Tensor from_dlpack(const py::object& source) {
  const py::object capsule = capsule_of(source);
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!m) throw py::error_already_set();
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
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  return y;
}

// ---- the CUDA array interface (version 3): what Numba, CuPy and others read and offer
py::dict cuda_array_interface(const Tensor& t) {
  if (t.device().type == DeviceType::cpu)
    throw py::attribute_error("only tensors on a CUDA device have a __cuda_array_interface__");
  check(!t.requires_grad(), ErrorKind::runtime,
        "__cuda_array_interface__: the tensor requires grad; use detach()");
  Dims strides = t.strides();
  for (int64_t& s : strides) s *= static_cast<int64_t>(size_of(t.dtype()));
  py::dict d;
  d["shape"] = py::tuple(py::cast(t.shape()));
  d["strides"] = py::tuple(py::cast(strides));
  d["typestr"] = numpy_dtype(t.dtype()).attr("str");
  d["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(t.numel() ? t.data() : nullptr),
                             t.impl()->storage->read_only);
  d["stream"] = stream_number(t.device());
  d["version"] = 3;
  return d;
}

Tensor from_cuda_array(const py::object& source, const std::optional<Device>& given) {
  check_type(py::hasattr(source, "__cuda_array_interface__"),
             "from_cuda_array: expected an object with __cuda_array_interface__, got ",
             Py_TYPE(source.ptr())->tp_name);
  const py::dict d = source.attr("__cuda_array_interface__");
  const py::object element = py::module_::import("numpy").attr("dtype")(d["typestr"]);
  check_type(std::string(py::str(element.attr("byteorder"))) != ">",
             "from_cuda_array: elements of foreign byte order are not supported");
  const auto dtype = dtype_from_numpy(element);
  check_type(dtype.has_value(), "from_cuda_array: elements of type ", std::string(py::str(d["typestr"])),
             " are not supported");
  check(!d.contains("mask") || d["mask"].is_none(), ErrorKind::not_implemented,
        "from_cuda_array: masked arrays are not supported");
  Dims shape;
  for (const py::handle n : d["shape"]) shape.push_back(n.cast<int64_t>());
  Dims strides = row_major_strides(shape);
  const auto size = static_cast<int64_t>(size_of(*dtype));
  if (d.contains("strides") && !d["strides"].is_none()) {
    int i = 0;
    check_value(py::len(d["strides"]) == static_cast<size_t>(shape.size()),
                "from_cuda_array: ", py::len(d["strides"]), " strides for ", shape.size(), " dimensions");
    for (const py::handle s : d["strides"]) {
      check_value(s.cast<int64_t>() % size == 0, "from_cuda_array: strides must be whole elements");
      strides[i++] = s.cast<int64_t>() / size;
    }
  }
  const py::tuple data = d["data"];
  void* memory = reinterpret_cast<void*>(data[0].cast<uintptr_t>());
  Device device = given.value_or(Device{DeviceType::cuda, 0});
  const Backend& backend = backend_of(device);
  if (const int owner = given || !memory ? kHost : backend.streams->owner(memory, 0); owner != kHost)
    device.index = static_cast<int8_t>(owner);
  check_place("from_cuda_array", memory, shape, *dtype, device);
  if (d.contains("stream") && !d["stream"].is_none()) {
    const int index = device.index;
    const Status status =
        backend.streams->order(index, foreign_stream(stream_given("from_cuda_array", d["stream"], 0)),
                               backend.streams->handle(index, backend.context(index).stream_number));
    if (status != Status::ok) fail_launch("from_cuda_array", status, device);
  }
  Tensor t = from_memory(memory, shape, strides, *dtype, device, drop_python_object,
                         py::object(source).release().ptr());
  t.impl()->storage->read_only = data[1].cast<bool>();
  return t;
}

// ---- NumPy
// --------------------------------------------------------------------------------------------------------------
// The buffer protocol would need an exporter object; an __array_interface__ that keeps the tensor alive does
// the same.
py::object to_numpy(const Tensor& t) {
  check(!t.requires_grad(), ErrorKind::runtime, "numpy(): the tensor requires grad; use detach().numpy()");
  check(t.device().type == DeviceType::cpu, ErrorKind::runtime,
        "numpy(): the tensor is not on the CPU; use .cpu()");
  const py::object dtype = numpy_dtype(t.dtype());
  py::module_ numpy = py::module_::import("numpy");
  if (t.numel() == 0) return numpy.attr("empty")(py::cast(t.shape()), dtype);
  Dims strides = t.strides();
  for (int64_t& s : strides) s *= static_cast<int64_t>(size_of(t.dtype()));
  py::dict interface;
  interface["shape"] = py::cast(t.shape());
  interface["strides"] = py::cast(strides);
  interface["typestr"] = dtype.attr("str");
  interface["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(t.data()), t.impl()->storage->read_only);
  interface["version"] = 3;
  // The holder keeps a tensor of its own: the Python object asked may be gone before the array.
  py::object holder = py::module_::import("types").attr("SimpleNamespace")();
  holder.attr("__array_interface__") = interface;
  holder.attr("tensor") = py::reinterpret_steal<py::object>(wrap(detach(t)));
  return numpy.attr("asarray")(holder);
}

py::object to_array(const Tensor& t, const py::object& dtype, const py::object& copy) {
  py::object array = to_numpy(t);
  if (!dtype.is_none())
    return array.attr("astype")(dtype, py::arg("copy") = !copy.is_none() && copy.cast<bool>());
  return !copy.is_none() && copy.cast<bool>() ? array.attr("copy")() : array;
}

}  // namespace

Tensor tensor_from_numpy(py::handle source, bool copy) {
  const py::object array = py::module_::import("numpy").attr("asarray")(source);
  const auto dtype = dtype_from_numpy(array.attr("dtype"));
  if (!dtype)  // NumPy takes microseconds to spell the name
    fail(ErrorKind::type, "a NumPy array of dtype ", std::string(py::str(array.attr("dtype"))),
         " has no counterpart here; convert it to float32, float64, float16, int64, int32, uint8 or bool");
  const std::string order = py::str(array.attr("dtype").attr("byteorder"));
  check_type(order != ">", "NumPy arrays of foreign byte order are not supported; convert with astype");
  const py::dict interface = array.attr("__array_interface__");
  const py::tuple data = interface["data"];
  Dims shape, strides;
  const auto size = static_cast<int64_t>(size_of(*dtype));
  bool whole = true;  // strides in units of elements
  for (const py::handle d : py::tuple(array.attr("shape"))) shape.push_back(d.cast<int64_t>());
  for (const py::handle s : py::tuple(array.attr("strides"))) {
    whole = whole && s.cast<int64_t>() % size == 0;
    strides.push_back(s.cast<int64_t>() / size);
  }
  const auto address = data[0].cast<uintptr_t>();
  if (!whole || address % static_cast<uintptr_t>(size) != 0)
    return tensor_from_numpy(py::module_::import("numpy").attr("array")(array), false);
  Tensor t = from_memory(reinterpret_cast<void*>(address), shape, strides, *dtype, {}, drop_python_object,
                         py::object(array).release().ptr());
  t.impl()->storage->read_only = data[1].cast<bool>();
  return copy ? clone(t) : t;
}

void define_exchange(py::module_& m) {
  m.def(
      "from_numpy",
      [](const py::object& array) {
        check_type(py::isinstance(array, py::module_::import("numpy").attr("ndarray")),
                   "from_numpy: expected a NumPy array, got ", Py_TYPE(array.ptr())->tp_name);
        return tensor_from_numpy(array, false);
      },
      py::arg("array"), "A tensor that shares the array's memory.");
  m.def(
      "_tensor_from_array", [](const py::object& array) { return tensor_from_numpy(array, true); },
      py::arg("array"), "A tensor with a copy of the array.");
  m.def("from_dlpack", from_dlpack, py::arg("source"),
        "A tensor that shares the memory of any object with __dlpack__.");
  def_method("numpy", to_numpy, "A NumPy array that shares this tensor's memory.");
  def_method("__array__", to_array, py::arg("dtype") = py::none(), py::arg("copy") = py::none());
  def_method(
      "tolist",
      [](const Tensor& t) -> py::object { return to_numpy(to_device(detach(t), Device{})).attr("tolist")(); },
      "Nested lists of Python numbers.");
  m.def("_from_cuda_array", from_cuda_array, py::arg("source"), py::arg("device"));
  m.def("_cuda_array_interface", cuda_array_interface, py::arg("x"));
  def_method(
      "__dlpack__",
      [](const Tensor& t, const py::object& stream, const py::object& place, const py::object& copy,
         const py::kwargs&) { return to_dlpack(t, stream, place, copy); },
      py::arg("stream") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none());
  def_method("__dlpack_device__", [](const Tensor& t) {
    const DLDevice d = dl_device(t);
    return py::make_tuple(d.type, d.id);
  });
}

}  // namespace fastnn
