// NumPy arrays: memory shared where the dtypes allow.
#include <algorithm>

#include "core/autograd.h"
#include "ops/elementwise/copy.h"
#include "ops/view/device.h"
#include "python/convert.h"
#include "python/exchange.h"
#include "python/types.h"

namespace fastnn {
namespace {

// The buffer protocol would need an exporter; an __array_interface__ that keeps the tensor alive will do.
Object to_numpy(const Tensor& t) {
  check(!t.requires_grad(), ErrorKind::runtime, "numpy(): the tensor requires grad; use detach().numpy()");
  check(t.device().type == DeviceType::cpu, ErrorKind::runtime,
        "numpy(): the tensor is not on the CPU; use .cpu()");
  const Object numpy = import("numpy");
  if (t.numel() == 0)
    return numpy.attr("empty")(Object::owned(To<Dims>::of(t.shape())), numpy_dtype(t.dtype()));
  const Dict interface = array_interface(t, t.data());
  // The Python object asked may be gone before the array, or show another storage by then.
  const Object holder = import("types").attr("SimpleNamespace")();
  holder.set("__array_interface__", interface.object());
  holder.set("storage", owner_of(t));
  return numpy.attr("asarray")(holder);
}

// array.tolist(), a part of the first dimension at a time: Ctrl-C comes between them.
Object nested_list(const Object& array, Py_ssize_t size) {
  constexpr Py_ssize_t kPart = 1 << 18;
  if (size <= kPart) return array.attr("tolist")();
  const Py_ssize_t rows = PySequence_Size(array.get()), row = size / rows;
  if (row > kPart) {
    const Object list = Object::owned(PyList_New(rows));
    for (Py_ssize_t i = 0; i < rows; ++i)
      PyList_SET_ITEM(list.get(), i, nested_list(array.item(i), row).release());
    return list;
  }
  Object list = Object::owned(PyList_New(0));
  for (Py_ssize_t i = 0, part = kPart / row; i < rows; i += part) {
    if (PyErr_CheckSignals() < 0) throw_python_error();
    const Object items =
        Object::owned(PySequence_GetSlice(array.get(), i, std::min(i + part, rows))).attr("tolist")();
    list = Object::owned(PySequence_InPlaceConcat(list.get(), items.get()));
  }
  return list;
}

Object to_array(const Tensor& t, const Object& dtype, const Object& copy) {
  const Object array = to_numpy(t);
  const bool must_copy = !copy.is_none() && truth_of(copy);
  if (dtype.is_none()) return must_copy ? array.attr("copy")() : array;
  Dict options;
  options.set("copy", truth(must_copy));
  return Object::owned(
      PyObject_Call(array.attr("astype").get(), tuple_of(dtype).get(), options.object().get()));
}

}  // namespace

Dict array_interface(const Tensor& t, const void* address) {
  Dims strides = t.strides();
  for (int64_t& s : strides) s *= static_cast<int64_t>(size_of(t.dtype()));
  Dict d;
  d.set("shape", Object::owned(To<Dims>::of(t.shape())));
  d.set("strides", Object::owned(To<Dims>::of(strides)));
  d.set("typestr", numpy_dtype(t.dtype()).attr("str"));
  d.set("data", tuple_of(Object::owned(PyLong_FromVoidPtr(const_cast<void*>(address))),
                         truth(t.impl()->storage->read_only)));
  d.set("version", integer(3));
  return d;
}

void* address_of(const Object& number) {
  void* address = PyLong_AsVoidPtr(number.get());
  if (!address && PyErr_Occurred()) throw_python_error();
  return address;
}

void check_bools(const char* op, const Tensor& t) {
  const Tensor bytes = contiguous(bytes_of(t));
  const uint8_t* const byte = bytes.data<uint8_t>();
  uint8_t all = 0;
  for (int64_t i = 0; i < t.numel(); ++i) all |= byte[i];
  check_value(all <= 1, op,
              ": a bool is stored as 0 or 1, and there are other bytes here; take `array != 0`");
}

Tensor tensor_from_numpy(const Object& source, bool copy) {
  const Object numpy = import("numpy"), array = numpy.attr("asarray")(source), element = array.attr("dtype");
  const auto dtype = dtype_from_numpy(element);
  if (!dtype)  // NumPy takes microseconds to spell the name
    fail(ErrorKind::type, "a NumPy array of dtype ", printed(element),
         " has no counterpart here; convert it to float32, float64, float16, int64, int32, uint8 or bool");
  check_type(string_of(element.attr("byteorder")) != ">",
             "NumPy arrays of foreign byte order are not supported; convert with astype");
  const Object interface = array.attr("__array_interface__"),
               data = Object::owned(PyMapping_GetItemString(interface.get(), "data"));
  Dims shape, strides;
  const auto size = static_cast<int64_t>(size_of(*dtype));
  bool whole = true;  // strides in units of elements
  const Items sizes(array.attr("shape")), bytes(array.attr("strides"));
  for (Py_ssize_t i = 0; i < sizes.size(); ++i) {
    const int64_t stride = integer_of(bytes[i]);
    whole = whole && stride % size == 0;
    shape.push_back(integer_of(sizes[i]));
    strides.push_back(stride / size);
  }
  void* address = address_of(data.item(0));
  if (!whole || reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(size) != 0)
    return tensor_from_numpy(numpy.attr("array")(array), false);
  Tensor t = from_memory(address, shape, strides, *dtype, {}, drop_python_object, Object(array).release());
  t.impl()->storage->read_only = truth_of(data.item(1));
  if (*dtype == DType::boolean) {
    if (copy) return cast(bytes_of(t), DType::boolean);
    check_bools("from_numpy", t);
  }
  return copy ? clone(t) : t;
}

void define_numpy(Definitions& d) {
  d.function(
      "from_numpy(array)",
      [](const Object& array) {
        check_type(truth_of(import("builtins").attr("isinstance")(array, import("numpy").attr("ndarray"))),
                   "from_numpy: expected a NumPy array, got ", Py_TYPE(array.get())->tp_name);
        return tensor_from_numpy(array, false);
      },
      "A tensor that shares the array's memory.");
  d.internal(
      "_tensor_from_array(array)", [](const Object& array) { return tensor_from_numpy(array, true); },
      "A tensor with a copy of the array.");
  d.method("numpy(self) -> numpy.typing.NDArray[Any]", to_numpy,
           "A NumPy array that shares this tensor's memory.");
  d.method("__array__(self, dtype=None, copy=None) -> numpy.typing.NDArray[Any]", to_array,
           "What NumPy asks for.");
  d.method(
      "tolist(self)",
      [](const Tensor& t) { return nested_list(to_numpy(to_device(detach(t), Device{})), t.numel()); },
      "Nested lists of Python numbers.");
}

}  // namespace fastnn
