#include "python/object.h"

#include <unistd.h>

#include <exception>

namespace fastnn {

void StopsAtExit::stop_if_unwound() {
  if (std::uncaught_exceptions() > 0) return;
  for (;;) pause();
}

std::string string_of(const Object& o) {
  Py_ssize_t size;
  const char* data = PyUnicode_AsUTF8AndSize(o.get(), &size);
  if (!data) throw_python_error();
  return {data, static_cast<size_t>(size)};
}

int64_t integer_of(const Object& o) {
  const Object number = Object::owned(PyNumber_Index(o.get()));
  const long long value = PyLong_AsLongLong(number.get());
  if (value == -1 && PyErr_Occurred()) throw_python_error();
  return value;
}

bool truth_of(const Object& o) {
  const int value = PyObject_IsTrue(o.get());
  if (value < 0) throw_python_error();
  return value != 0;
}

}  // namespace fastnn
