#include "python/object.h"

#include <new>
#include <stdexcept>

namespace fastnn {
namespace {

PyObject* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::value:
      return PyExc_ValueError;
    case ErrorKind::type:
      return PyExc_TypeError;
    case ErrorKind::index:
      return PyExc_IndexError;
    case ErrorKind::memory:
      return PyExc_MemoryError;
    case ErrorKind::not_implemented:
      return PyExc_NotImplementedError;
    case ErrorKind::interrupted:
      return PyExc_KeyboardInterrupt;
    default:
      return PyExc_RuntimeError;
  }
}

}  // namespace

PythonError::PythonError() {
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_SystemError, "a call into Python failed without an error");
  PyObject *type = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &error_, &traceback);
  PyErr_NormalizeException(&type, &error_, &traceback);
  if (traceback) PyException_SetTraceback(error_, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
}
// What catches an error may copy and drop it without Python's lock.
PythonError::PythonError(const PythonError& o) : error_(o.error_) {
  const Locked lock;
  Py_INCREF(error_);
}
PythonError::~PythonError() {
  const Locked lock;
  Py_DECREF(error_);
}

void PythonError::restore() const {
  PyErr_Restore(Py_NewRef(Py_TYPE(error_)), Py_NewRef(error_), PyException_GetTraceback(error_));
}

void set_python_error() {
  try {
    throw;
  } catch (const PythonError& e) {
    e.restore();
  } catch (const Error& e) {
    PyErr_SetString(python_class(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "out of memory");
  } catch (const std::invalid_argument& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

std::string string_of(const Object& o) {
  Py_ssize_t size;
  const char* data = PyUnicode_AsUTF8AndSize(o.get(), &size);
  if (!data) throw PythonError();
  return {data, static_cast<size_t>(size)};
}

int64_t integer_of(const Object& o) {
  const Object number = Object::owned(PyNumber_Index(o.get()));
  const long long value = PyLong_AsLongLong(number.get());
  if (value == -1 && PyErr_Occurred()) throw PythonError();
  return value;
}

bool truth_of(const Object& o) {
  const int value = PyObject_IsTrue(o.get());
  if (value < 0) throw PythonError();
  return value != 0;
}

}  // namespace fastnn
