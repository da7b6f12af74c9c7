// Python objects owned from C++, and Python's errors as exceptions of C++ and back.
#pragma once
#include <Python.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/check.h"

namespace fastnn {

// The error that is set in Python, on its way through C++ (an exception of pybind11's).
[[noreturn, gnu::cold]] void throw_python_error();

// Sets the Python error for the C++ exception being handled.
void set_python_error();

// Where this thread may wait for Python's lock. At Python's end that ends the threads which are not the main
// one, by pthread_exit(), and what this unwinds through C++ ends the process. Here such a thread stops for
// good, before anything of ours is destroyed without the lock.
class StopsAtExit {
 public:
  StopsAtExit() = default;
  ~StopsAtExit() {
    if (!passed_) [[unlikely]]
      stop_if_unwound();
  }
  StopsAtExit(const StopsAtExit&) = delete;
  StopsAtExit& operator=(const StopsAtExit&) = delete;
  void passed() { passed_ = true; }

 private:
  static void stop_if_unwound();  // not by an exception: this one goes on
  bool passed_ = false;
};

// f() where f may run Python code, with which other threads take turns.
template <class F>
auto may_stop(F&& f) {
  StopsAtExit stop;
  auto result = f();
  stop.passed();
  return result;
}

// A reference to an object, or none.
class Object {
 public:
  Object() = default;
  Object(const Object& o) : p_(Py_XNewRef(o.p_)) {}
  Object(Object&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Object& operator=(Object o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Object() { Py_XDECREF(p_); }

  // The result of a call into Python; throws its error where there is none.
  static Object owned(PyObject* p) {
    if (!p) throw_python_error();
    return Object(p);
  }
  static Object shared(PyObject* p) { return Object(Py_NewRef(p)); }

  PyObject* get() const { return p_; }
  PyObject* release() { return std::exchange(p_, nullptr); }
  explicit operator bool() const { return p_ != nullptr; }
  bool is_none() const { return p_ == Py_None; }

  Object attr(const char* name) const { return owned(PyObject_GetAttrString(p_, name)); }
  bool has(const char* name) const { return PyObject_HasAttrString(p_, name); }
  void set(const char* name, const Object& value) const {
    if (PyObject_SetAttrString(p_, name, value.p_) < 0) throw_python_error();
  }
  Object item(Py_ssize_t i) const { return owned(PySequence_GetItem(p_, i)); }
  template <class... Arguments>
  Object operator()(const Arguments&... arguments) const {
    return owned(may_stop([&] { return PyObject_CallFunctionObjArgs(p_, arguments.get()..., nullptr); }));
  }

 private:
  explicit Object(PyObject* p) : p_(p) {}
  PyObject* p_ = nullptr;
};

inline Object import(const char* module) { return Object::owned(PyImport_ImportModule(module)); }
inline Object none() { return Object::shared(Py_None); }
inline Object text(const std::string& s) {
  return Object::owned(PyUnicode_FromStringAndSize(s.data(), static_cast<Py_ssize_t>(s.size())));
}
inline Object integer(int64_t value) { return Object::owned(PyLong_FromLongLong(value)); }
inline Object truth(bool value) { return Object::shared(value ? Py_True : Py_False); }

// What Python objects say as C++ values; throw Python's TypeError where they are of another kind.
std::string string_of(const Object& o);  // of a str
int64_t integer_of(const Object& o);     // of an int or what has __index__
bool truth_of(const Object& o);          // of anything
inline std::string printed(const Object& o) { return string_of(Object::owned(PyObject_Str(o.get()))); }

// A sequence's elements, borrowed while it lives.
class Items {
 public:
  explicit Items(const Object& o) : fast_(Object::owned(PySequence_Fast(o.get(), "expected a sequence"))) {}
  Py_ssize_t size() const { return PySequence_Fast_GET_SIZE(fast_.get()); }
  Object operator[](Py_ssize_t i) const { return Object::shared(PySequence_Fast_GET_ITEM(fast_.get(), i)); }

 private:
  Object fast_;
};

template <class... Objects>
Object tuple_of(const Objects&... objects) {
  return Object::owned(PyTuple_Pack(sizeof...(objects), objects.get()...));
}

inline Object call(const Object& f, const Object& arguments) {  // a tuple
  return Object::owned(may_stop([&] { return PyObject_CallObject(f.get(), arguments.get()); }));
}

class Dict {
 public:
  Dict() : dict_(Object::owned(PyDict_New())) {}
  void set(const char* key, const Object& value) {
    if (PyDict_SetItemString(dict_.get(), key, value.get()) < 0) throw_python_error();
  }
  const Object& object() const { return dict_; }

 private:
  Object dict_;
};

// Python's lock, for the length of a scope, by a thread that may not hold it.
class Locked {
 public:
  Locked() : state_(may_stop(PyGILState_Ensure)) {}
  ~Locked() { PyGILState_Release(state_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace fastnn
