// The Python type fastnn.Tensor and conversion between it and the C++ class.
//
// It is a CPython type with slots of its own rather than a pybind11 class: x * x must not cost more in the
// wrapper than in the kernel. pybind11 binds everything else and converts Tensor arguments through the
// type_caster below.
#pragma once
#include <pybind11/pybind11.h>

#include <optional>

#include "core/operand.h"

namespace fastnn {

namespace py = pybind11;

struct PyTensor {
  PyObject_HEAD Tensor tensor;
  PyObject* weakrefs;
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == tensor_type || PyType_IsSubtype(Py_TYPE(o), tensor_type);
}
inline const Tensor& unwrap(PyObject* o) { return reinterpret_cast<PyTensor*>(o)->tensor; }

// The Python object of a tensor: the living one, or a new one. Undefined tensors are None.
PyObject* wrap(const Tensor& t);

// A Tensor, a number (as a 0-d tensor that gives way in promotion), or a NumPy array or scalar; false for
// anything else.
bool to_operand(PyObject* o, Tensor* out);

// The same without a tensor for a number. An array is held by `own`, which must outlive the operand.
bool to_operand(PyObject* o, Tensor* own, Operand* out);

// Sets the Python error for the C++ exception being handled.
void set_python_error();

void define_tensor_type(py::module_& m);  // tensor.cpp: the type, operators, attributes
void define_exchange(py::module_& m);     // exchange.cpp: NumPy, DLPack
void define_autograd(py::module_& m);     // autograd.cpp: backward, grad, Python-defined functions
void define_ops(py::module_& m);          // ops.cpp: one line per op
void define_views(py::module_& m);        // views.cpp: views and methods that take dimensions
void define_cuda(py::module_& m);         // cuda.cpp: devices, streams, events

// index.cpp: x[key], x[key] = value
Tensor get_item(const Tensor& x, PyObject* key);
void set_item(const Tensor& x, PyObject* key, PyObject* value);

// exchange.cpp: shares the array's memory where its dtype is ours
Tensor tensor_from_numpy(py::handle array, bool copy);

// A Python function or property that a type gets as an attribute.
template <class F, class... Extra>
void def_method(const char* name, F&& f, const Extra&... extra) {
  py::handle type(reinterpret_cast<PyObject*>(tensor_type));
  py::cpp_function function(std::forward<F>(f), py::name(name), py::is_method(type),
                            py::sibling(py::getattr(type, name, py::none())), extra...);
  py::setattr(type, name, function);
}

// Appends dimensions given the usual way, as plain ints that fit 64 bits; false at the first that is not.
// Layers of small nets spend as long on their sizes as on anything else.
inline bool plain_dims(PyObject* const* item, Py_ssize_t n, Dims& dims) {
  if (n > kMaxDims) return false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    int overflow = 0;
    if (!PyLong_CheckExact(item[i])) return false;
    dims.push_back(PyLong_AsLongLongAndOverflow(item[i], &overflow));
    if (overflow) return false;
  }
  return true;
}

}  // namespace fastnn

namespace pybind11::detail {

template <>
struct type_caster<fastnn::Tensor> {
  PYBIND11_TYPE_CASTER(fastnn::Tensor, const_name("fastnn._C.Tensor"));
  bool load(handle source, bool) {
    // An argument that may be left out is a std::optional<Tensor>. Otherwise None is refused here, and
    // pybind11's message names the op, its arguments and what was given.
    if (source.is_none()) return false;
    if (!fastnn::is_tensor(source.ptr())) return fastnn::to_operand(source.ptr(), &value);
    value = fastnn::unwrap(source.ptr());
    return true;
  }
  static handle cast(const fastnn::Tensor& t, return_value_policy, handle) { return fastnn::wrap(t); }
};

// Dimensions: an int or a sequence of ints.
template <>
struct type_caster<fastnn::Dims> {
  PYBIND11_TYPE_CASTER(fastnn::Dims, const_name("int | collections.abc.Sequence[int]"));
  bool load(handle source, bool) {
    value = fastnn::Dims();
    if (PyTuple_CheckExact(source.ptr()) &&
        fastnn::plain_dims(PySequence_Fast_ITEMS(source.ptr()), PyTuple_GET_SIZE(source.ptr()), value))
      return true;
    value = fastnn::Dims();
    if (PyIndex_Check(source.ptr()) && !fastnn::is_tensor(source.ptr())) return push(source.ptr());
    if (!PySequence_Check(source.ptr()) || PyUnicode_Check(source.ptr())) return false;
    const object fast = reinterpret_steal<object>(PySequence_Fast(source.ptr(), ""));
    if (!fast) return PyErr_Clear(), false;
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
    for (Py_ssize_t i = 0; i < n; ++i)
      if (!push(PySequence_Fast_GET_ITEM(fast.ptr(), i))) return false;
    return true;
  }
  static handle cast(const fastnn::Dims& dims, return_value_policy, handle) {
    PyObject* tuple = PyTuple_New(dims.size());
    for (int i = 0; i < dims.size(); ++i) PyTuple_SET_ITEM(tuple, i, PyLong_FromLongLong(dims[i]));
    return tuple;
  }

 private:
  bool push(PyObject* item) {
    if (!PyIndex_Check(item)) return false;
    const object number = reinterpret_steal<object>(PyNumber_Index(item));
    if (!number) return PyErr_Clear(), false;
    int overflow;
    const long long v = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    fastnn::check_value(overflow == 0, "an integer argument does not fit 64 bits");
    value.push_back(v);
    return true;
  }
};

// One object per dtype, made in types.cpp.
template <>
struct type_caster<fastnn::DType> {
  PYBIND11_TYPE_CASTER(fastnn::DType, const_name("fastnn._C.dtype"));
  bool load(handle source, bool);
  static handle cast(fastnn::DType t, return_value_policy, handle);
};
template <>
struct type_caster<fastnn::Device> {
  PYBIND11_TYPE_CASTER(fastnn::Device, const_name("fastnn._C.device | str"));
  bool load(handle source, bool);
  static handle cast(fastnn::Device d, return_value_policy, handle);
};

}  // namespace pybind11::detail
