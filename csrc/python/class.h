// Classes of the extension: a C++ value as a Python object.
//
//   template <>
//   inline constexpr const char* class_name<Stream> = "CudaStream";
//   Class<Stream>(d, "A queue of work on a device.")
//       .make("CudaStream(cls, device=0)", [](PyObject*, int device) { return Stream{device}; })
//       .method("synchronize(self)", [](Stream& s) { ... }, "Waits for its work.")
//       .property("device(self)", [](Stream& s) { return s.device; }, "The number of the device.");
//
// Functions take a Stream& and return a Stream, as they would any other type.
#pragma once
#include "python/convert.h"

namespace fastnn {

template <class T>
inline constexpr const char* class_name = nullptr;
template <class T>
inline PyTypeObject* class_of = nullptr;

template <class T>
struct Boxed {
  PyObject_HEAD;
  T value;
};

template <class T>
bool is_boxed(PyObject* o) {
  return Py_TYPE(o) == class_of<T>;
}
template <class T>
T& unboxed(PyObject* o) {
  return reinterpret_cast<Boxed<T>*>(o)->value;
}
template <class T>
PyObject* boxed(T&& value) {
  PyTypeObject* type = class_of<std::remove_cvref_t<T>>;
  PyObject* o = type->tp_alloc(type, 0);
  if (!o) throw PythonError();
  new (&unboxed<std::remove_cvref_t<T>>(o)) std::remove_cvref_t<T>(std::forward<T>(value));
  return o;
}

[[noreturn]] void refuse_class(const Arguments& a, int i, const char* name);

template <class T>
struct From<T&> {
  static constexpr TypeName type{class_name<T>};
  From(const Arguments& a, int i) : value_(a[i]) {
    if (!is_boxed<T>(value_)) refuse_class(a, i, class_name<T>);
  }
  T& get() const { return unboxed<T>(value_); }

 private:
  PyObject* value_;
};

template <class T>
  requires(class_name<T> != nullptr)
struct From<const T&> : From<T&> {
  using From<T&>::From;
};

template <class T>
  requires(class_name<T> != nullptr)
struct From<T> : Held<T> {
  static constexpr TypeName type{class_name<T>};
  From(const Arguments& a, int i) : Held<T>{From<T&>(a, i).get()} {}
};

template <class T>
  requires(class_name<T> != nullptr)
struct To<T> {
  static constexpr TypeName type{class_name<T>};
  static PyObject* of(T value) { return boxed(std::move(value)); }
};

// What of Class does not depend on T.
class ClassBase {
 public:
  Object type() const { return Object::shared(reinterpret_cast<PyObject*>(type_)); }

 protected:
  ClassBase(const char* name, const char* doc, size_t size, destructor destroy);
  void add(const char* attribute, const Definition& d) const;
  void add_property(const Definition& d) const;

  const char* name_;
  PyTypeObject* type_;
};

template <class T>
class Class : public ClassBase {
 public:
  Class(Definitions& d, const char* doc, bool is_public = false)
      : ClassBase(class_name<T>, doc, sizeof(Boxed<T>), destroy) {
    class_of<T> = type_;
    d.add(class_name<T>, type(), is_public);
  }
  // How Python makes one: a function whose first argument is the class.
  template <class F>
  Class& make(const char* signature, F f) {
    add("__new__", definition(signature, f, ""));
    return *this;
  }
  template <class F>
  Class& method(const char* signature, F f, const char* doc = "") {
    add(nullptr, definition(signature, f, doc));
    return *this;
  }
  template <class F>
  Class& property(const char* signature, F f, const char* doc = "") {
    add_property(definition(signature, f, doc));
    return *this;
  }

 private:
  static void destroy(PyObject* o) {
    PyTypeObject* type = Py_TYPE(o);
    unboxed<T>(o).~T();
    type->tp_free(o);
    Py_DECREF(type);
  }
};

// A property of a type, named as the function that gets it.
void set_property(const Object& type, const Object& get);

}  // namespace fastnn
