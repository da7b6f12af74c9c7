// The Python type fastnn.Tensor and conversion between it and the C++ class.
//
// It is a type with slots of its own: x * x must not cost more in the wrapper than in the kernel.
#pragma once
#include <Python.h>

#include "core/operand.h"

namespace fastnn {

class Object;

struct PyTensor {
  PyObject_HEAD Tensor tensor;
  PyObject* weakrefs;
  PyObject* lent;  // a list of the owners of memory that was shown through this object; null as a rule
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == tensor_type || PyType_IsSubtype(Py_TYPE(o), tensor_type);
}
inline const Tensor& unwrap(PyObject* o) { return reinterpret_cast<PyTensor*>(o)->tensor; }

// The Python object of a tensor: the living one, or a new one. Undefined tensors are None.
PyObject* wrap(const Tensor& t);

// Python's collector of cycles looks at objects that are tracked: tensors with hooks or a history, which may
// own objects of Python's.
void track(const Tensor& t);

// A Tensor, a number (as a 0-d tensor that gives way in promotion), a NumPy array or scalar; else false.
bool to_operand(PyObject* o, Tensor* out);

// The same without a tensor for a number. An array is held by `own`, which must outlive the operand.
bool to_operand(PyObject* o, Tensor* own, Operand* out);

// Keeps t's memory as long as the object that shows t, also after `t.data = ...`: consumers of the CUDA array
// interface hold nothing else.
void keep_lent(const Tensor& t);

// index.cpp: x[key], x[key] = value
Tensor get_item(const Tensor& x, PyObject* key);
void set_item(const Tensor& x, PyObject* key, PyObject* value);

// numpy.cpp: an array's elements; shares its memory where its dtype is ours and no copy is asked for
Tensor tensor_from_numpy(const Object& array, bool copy);

}  // namespace fastnn
