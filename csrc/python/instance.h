// Values of the classes that pybind11 makes (module.cpp), for functions of ours: they take a CudaStream& and
// return a CudaStream, as they would any other type.
#pragma once
#include "python/convert.h"

namespace fastnn {

template <class T>
inline constexpr const char* class_name = nullptr;

// The value in an object; null where it is of another class.
template <class T>
T* instance(PyObject* o);
// A new object.
template <class T>
PyObject* new_instance(T value);

template <class T>
struct From<T&> {
  static constexpr TypeName type{class_name<T>};
  From(const Arguments& a, int i) : value_(instance<T>(a[i])) {
    if (!value_) refuse(a, i, (std::string("a ") + class_name<T>).c_str());
  }
  T& get() const { return *value_; }

 private:
  T* value_;
};

template <class T>
  requires(class_name<T> != nullptr)
struct From<const T&> : From<T&> {
  using From<T&>::From;
};

template <class T>
  requires(class_name<T> != nullptr)
struct To<T> {
  static constexpr TypeName type{class_name<T>};
  static PyObject* of(T value) { return new_instance(std::move(value)); }
};

}  // namespace fastnn
