// NumPy arrays and DLPack: memory that others made or will read, without copies where the dtypes allow.
#include <cstring>

#include "core/autograd.h"
#include "ops/copy.h"
#include "types.h"

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
enum : int32_t { kDLCPU = 1 };
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

py::capsule to_dlpack(const Tensor& t) {
  check(!t.requires_grad(), ErrorKind::runtime, "__dlpack__: the tensor requires grad; use detach()");
  check(t.device().type == DeviceType::cpu, ErrorKind::runtime,
        "__dlpack__: only CPU tensors can be exported by this build");
  check(!t.impl()->storage->read_only, ErrorKind::value,
        "__dlpack__: the tensor shares a read-only NumPy array, which DLPack cannot say; use clone()");
  auto* e = new Export{{}, t};
  e->managed.tensor = {
      t.data(), {kDLCPU, 0}, t.dim(), dl_dtype(t.dtype()), t.impl()->shape.begin(), t.impl()->strides.begin(),
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

Tensor from_dlpack(const py::object& source) {
  py::object capsule = PyCapsule_CheckExact(source.ptr()) ? source : source.attr("__dlpack__")();
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!m) throw py::error_already_set();
  const DLTensor& t = m->tensor;
  check(t.device.type == kDLCPU, ErrorKind::runtime,
        "from_dlpack: only CPU memory can be imported by this build");
  const DType dtype = from_dl(t.dtype);
  Dims shape;
  for (int i = 0; i < t.ndim; ++i) shape.push_back(t.shape[i]);
  Dims strides = row_major_strides(shape);
  for (int i = 0; t.strides && i < t.ndim; ++i) strides[i] = t.strides[i];
  Tensor y = from_memory(
      static_cast<char*>(t.data) + t.byte_offset, shape, strides, dtype, {},
      [](void* owner) {
        auto* managed = static_cast<DLManagedTensor*>(owner);
        if (managed->deleter) managed->deleter(managed);
      },
      m);
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  return y;
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
      "tolist", [](const Tensor& t) -> py::object { return to_numpy(detach(t)).attr("tolist")(); },
      "Nested lists of Python numbers.");
  def_method("__dlpack__", [](const Tensor& t, const py::kwargs&) { return to_dlpack(t); });
  def_method("__dlpack_device__", [](const Tensor&) { return py::make_tuple(int{kDLCPU}, 0); });
}

}  // namespace fastnn
