// Functions of the extension. A definition is one line: the arguments as Python writes them, a C++ function
// whose types say how each argument and the result are converted, and a doc.
//
//   d.op("softmax(x, dim)", softmax, "exp(x) / sum(exp(x)) along dim.");
//
// What a call gives is matched to the parameters by one piece of code for all. A template per C++ signature,
// not per function, converts the arguments (convert.h) and calls. The same object serves as a function of the
// module and as a method of Tensor. Where the default is None, None may be given: in C++ an undefined tensor.
#pragma once
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "python/object.h"

namespace fastnn {

// How a C++ type reads in Python: "int", or "int | None".
struct TypeName {
  const char* text;
  bool optional = false;
};

struct Parameter {
  enum Kind { positional, rest, keyword_only };  // rest: *name
  Object name;
  Object value;  // the default, or none
  Kind kind;
  std::string type, default_text;
};

struct Function;

// The arguments of one call: an object per parameter, the default where nothing is given. Borrowed.
struct Arguments {
  const Function* function;
  PyObject* const* values;
  PyObject* const* rest;  // those that *name takes
  Py_ssize_t n_rest;
  PyObject* operator[](int i) const { return values[i]; }
};

using Invoke = PyObject* (*)(const Arguments&);

struct Function {
  PyObject_HEAD;
  vectorcallfunc vectorcall;
  Invoke invoke;
  void (*target)();  // the C++ function that `invoke` calls
  const void* data;  // what it is given besides the arguments
  // Calls by position alone that need no matching: with `least` arguments, or more where *name takes them.
  Py_ssize_t least, most;
  struct Signature {
    std::string name, doc, result;
    std::vector<Parameter> parameters;
    int positional = 0;  // how many can be given by position
    bool takes_rest = false;
    Object qualified_name, inspected;  // inspected: an inspect.Signature, made when asked for
    std::string arguments(bool types) const;
  }* signature;
};

struct Definition {
  const char* signature;  // "sum(x, dim=None)"; "-> type" and "x: type" say what the C++ types cannot
  const char* doc;
  Invoke invoke;
  void (*target)() = nullptr;
  const void* data = nullptr;
  std::vector<TypeName> types = {};  // of the parameters, and of the result
};

// A wrong argument: "op(): argument 'x' must be <expected>, got <type>", with the signature.
[[noreturn]] void refuse(const Arguments& a, int i, const char* expected, PyObject* got = nullptr);
// The start of an error that reads "op: argument ...".
inline const std::string& op_of(const Arguments& a) { return a.function->signature->name; }
std::string argument_of(const Arguments& a, int i);
inline bool may_be_none(const Arguments& a, int i) {
  return a.function->signature->parameters[static_cast<size_t>(i)].value.is_none();
}

// Conversions, specialised in convert.h and beside the types they are for:
//   From<T>(arguments, i).get() is the argument for a parameter of type T, To<T>::of(value) a new reference
//   to the object of a result; From<T>::type and To<T>::type are their TypeNames.
template <class T>
struct From;
template <class T>
struct To;

// Converts in the order of the parameters: the first wrong one is reported.
template <class R, class... A>
struct Call {
  PyObject* result;
  template <class F>
  Call(F&& f, From<A>&&... arguments) {
    if constexpr (std::is_void_v<R>)
      f(arguments.get()...), result = Py_NewRef(Py_None);
    else
      result = To<std::remove_cvref_t<R>>::of(f(arguments.get()...));
  }
};

template <class R, class... A>
PyObject* invoke(const Arguments& a) {
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return Call<R, A...>{reinterpret_cast<R (*)(A...)>(a.function->target), From<A>(a, int{I})...}.result;
  }(std::index_sequence_for<A...>{});
}

// As invoke(), of a function that first takes the data of its definition: a row of a table.
template <class Row, class R, class... A>
PyObject* invoke_row(const Arguments& a) {
  const auto f = [&](auto&&... arguments) -> R {
    return reinterpret_cast<R (*)(const Row&, A...)>(a.function->target)(
        *static_cast<const Row*>(a.function->data), std::forward<decltype(arguments)>(arguments)...);
  };
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return Call<R, A...>{f, From<A>(a, int{I})...}.result;
  }(std::index_sequence_for<A...>{});
}

template <class R>
constexpr TypeName result_type_name() {
  if constexpr (std::is_void_v<R>)
    return {"None"};
  else
    return To<std::remove_cvref_t<R>>::type;
}

template <class R, class... A>
Definition definition(const char* signature, R (*f)(A...), const char* doc) {
  return {.signature = signature,
          .doc = doc,
          .invoke = invoke<R, A...>,
          .target = reinterpret_cast<void (*)()>(f),
          .types = {From<A>::type..., result_type_name<R>()}};
}
template <class Row, class R, class... A>
Definition definition(const char* signature, R (*f)(const Row&, A...), const char* doc, const Row& row) {
  return {.signature = signature,
          .doc = doc,
          .invoke = invoke_row<Row, R, A...>,
          .target = reinterpret_cast<void (*)()>(f),
          .data = &row,
          .types = {From<A>::type..., result_type_name<R>()}};
}
template <class Lambda>
Definition definition(const char* signature, Lambda f, const char* doc) {
  return definition(signature, +f, doc);
}

// A method of a class that module.cpp makes, or an attribute that is only read.
void define_in(PyObject* type, const Definition& d, bool is_property = false);
// An inspect.Signature of arguments as Python writes them: "(device: str, index=0)".
Object inspected_signature(const char* arguments);

// What an extension module consists of, as it is filled.
class Definitions {
 public:
  explicit Definitions(PyObject* module) : module_(module) {}

  // A public function of fastnn that is a method of Tensor too.
  template <class F, class... Row>
  void op(const char* signature, F f, const char* doc, const Row&... row) {
    add(kModule | kPublic | kMethod, definition(signature, f, doc, row...));
  }
  // A public function of fastnn.
  template <class F, class... Row>
  void function(const char* signature, F f, const char* doc, const Row&... row) {
    add(kModule | kPublic, definition(signature, f, doc, row...));
  }
  // A method of Tensor.
  template <class F, class... Row>
  void method(const char* signature, F f, const char* doc, const Row&... row) {
    add(kMethod, definition(signature, f, doc, row...));
  }
  // An attribute of Tensor that is only read.
  template <class F>
  void property(const char* signature, F f, const char* doc) {
    add(kProperty, definition(signature, f, doc));
  }
  // A function of fastnn._C alone, for the part of fastnn that is written in Python.
  template <class F>
  void internal(const char* signature, F f, const char* doc = "") {
    add(kModule, definition(signature, f, doc));
  }

  enum Place : unsigned { kModule = 1, kPublic = 2, kMethod = 4, kProperty = 8 };
  void add(unsigned places, const Definition& d);
  // An object under a name of the module, and of fastnn where it is public.
  void add(const char* name, const Object& value, bool is_public);

  // Writes __all__: the names that are public in fastnn.
  void finish();

 private:
  PyObject* module_;
  std::vector<std::string> public_;
};

}  // namespace fastnn
