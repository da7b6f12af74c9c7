#include "python/function.h"

#include <structmember.h>

#include <algorithm>
#include <memory>

#include "python/tensor.h"

namespace fastnn {
namespace {

constexpr int kMaxParameters = 16;
PyTypeObject* function_type = nullptr;

// ---- the text of a signature

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// What stands before the first `mark` outside quotes and brackets, which is removed with the mark.
std::string_view take(std::string_view& s, char mark) {
  int depth = 0;
  char quote = 0;
  size_t i = 0;
  for (; i < s.size(); ++i) {
    const char c = s[i];
    if (quote) {
      if (c == quote) quote = 0;
    } else if (c == mark && depth == 0) {
      break;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else {
      depth += (c == '(' || c == '[') - (c == ')' || c == ']');
    }
  }
  const std::string_view part = trimmed(s.substr(0, i));
  s = i < s.size() ? trimmed(s.substr(i + 1)) : std::string_view();
  return part;
}

Object literal(const std::string& source) {
  if (source == "None") return none();
  if (source == "True" || source == "False") return truth(source == "True");
  if (source.size() >= 2 && source.front() == '\'') return text(source.substr(1, source.size() - 2));
  if (source.find_first_of(".en") == std::string::npos)  // 0.5, 1e-8, inf
    return Object::owned(PyLong_FromString(source.c_str(), nullptr, 10));
  return Object::owned(PyFloat_FromString(text(source).get()));
}

std::string spelled(const TypeName& t) { return t.optional ? std::string(t.text) + " | None" : t.text; }

// One parameter of a signature.
Parameter parse_parameter(std::string_view source, Parameter::Kind kind) {
  const std::string_view before = take(source, '=');
  std::string_view type = before;
  const std::string name(take(type, ':'));
  Parameter p{.name = Object::owned(PyUnicode_InternFromString(name.c_str())),
              .value = {},
              .kind = kind,
              .type = std::string(type),
              .default_text = std::string(source)};
  if (!p.default_text.empty()) p.value = literal(p.default_text);
  return p;
}

Function::Signature parse(const Definition& d) {
  Function::Signature s;
  std::string_view source = d.signature;
  const size_t open = source.find('('), close = source.rfind(')');
  s.name = source.substr(0, open);
  s.doc = d.doc;
  if (const size_t arrow = source.find("->", close); arrow != std::string_view::npos)
    s.result = trimmed(source.substr(arrow + 2));
  std::string_view list = source.substr(open + 1, close - open - 1);
  Parameter::Kind kind = Parameter::positional;
  while (!list.empty()) {
    std::string_view part = take(list, ',');
    if (part == "*") {
      kind = Parameter::keyword_only;
    } else if (part.front() == '*') {
      s.parameters.push_back(parse_parameter(part.substr(1), Parameter::rest));
      s.takes_rest = true;
      kind = Parameter::keyword_only;
    } else {
      s.parameters.push_back(parse_parameter(part, kind));
      s.positional += kind == Parameter::positional;
    }
  }
  const size_t n = s.parameters.size();
  check(n <= kMaxParameters && (d.types.empty() || d.types.size() == n + 1), ErrorKind::runtime, d.signature,
        ": the C++ function has ", d.types.size() - 1, " parameters");
  for (size_t i = 0; i < n && !d.types.empty(); ++i) {
    Parameter& p = s.parameters[i];
    if (!p.type.empty()) continue;
    p.type = spelled(d.types[i]);
    if (p.value.is_none() && !d.types[i].optional && p.type != "Any") p.type += " | None";
  }
  if (s.result.empty() && !d.types.empty()) s.result = spelled(d.types.back());
  return s;
}

// ---- calls

const char* called(PyObject* type_of) { return type_of == Py_None ? "None" : Py_TYPE(type_of)->tp_name; }

template <class... Parts>
[[noreturn, gnu::cold]] void misuse(const Function& f, const Parts&... parts) {
  std::string called_by = f.signature->name;
  if (called_by == "__init__") {  // by the name of its class
    called_by = string_of(f.signature->qualified_name);
    called_by.resize(called_by.find('.'));
  }
  const char* name = called_by.c_str();
  name += name[0] == '_' && name[1] != '_';  // what the package calls by another name begins so
  fail(ErrorKind::type, name, "(): ", parts..., "\n  ", name, f.signature->arguments(true));
}

// Also of a string that is no Unicode.
std::string printed(PyObject* name) {
  const Object bytes = Object::owned(PyUnicode_AsEncodedString(name, "ascii", "backslashreplace"));
  return PyBytes_AS_STRING(bytes.get());
}

// What NumPy calls these arguments, which PyTorch takes too.
constexpr std::pair<const char*, const char*> kNamesOfNumPy[] = {{"axis", "dim"}, {"keepdims", "keepdim"}};

int find(const Function& f, PyObject* keyword) {
  const std::vector<Parameter>& all = f.signature->parameters;
  for (size_t i = 0; i < all.size(); ++i)  // names are interned on both sides, as a rule
    if (all[i].name.get() == keyword) return static_cast<int>(i);
  for (size_t i = 0; i < all.size(); ++i)
    if (PyUnicode_Compare(all[i].name.get(), keyword) == 0) return static_cast<int>(i);
  for (const auto& [theirs, ours] : kNamesOfNumPy)
    if (PyUnicode_CompareWithASCIIString(keyword, theirs) == 0)
      for (size_t i = 0; i < all.size(); ++i)
        if (PyUnicode_CompareWithASCIIString(all[i].name.get(), ours) == 0) return static_cast<int>(i);
  return -1;
}

// Fills a.values from a call that does not simply give one value per parameter.
void match(const Function& f, PyObject* const* args, Py_ssize_t n, PyObject* keywords, PyObject** values,
           Arguments& a) {
  const Function::Signature& s = *f.signature;
  const size_t count = s.parameters.size();
  const Py_ssize_t by_position = std::min<Py_ssize_t>(n, s.positional);
  std::copy_n(args, by_position, values);
  std::fill(values + by_position, values + count, nullptr);
  a.n_rest = n - by_position;
  if (a.n_rest > 0) {
    if (!s.takes_rest)
      misuse(f, "takes ", s.positional, s.positional == 1 ? " positional argument" : " positional arguments",
             ", got ", n);
    a.rest = args + by_position;
  }
  for (Py_ssize_t k = 0; keywords && k < PyTuple_GET_SIZE(keywords); ++k) {
    PyObject* name = PyTuple_GET_ITEM(keywords, k);
    const int i = find(f, name);
    if (i < 0 || s.parameters[i].kind == Parameter::rest)
      misuse(f, "there is no argument '", printed(name), "'");
    if (values[i]) misuse(f, "argument '", printed(name), "' is given twice");
    values[i] = args[n + k];
  }
  for (size_t i = 0; i < count; ++i) {
    if (values[i]) continue;
    values[i] = s.parameters[i].value.get();
    if (!values[i] && s.parameters[i].kind != Parameter::rest)
      misuse(f, "argument '", printed(s.parameters[i].name.get()), "' is missing");
  }
  a.values = values;
}

PyObject* call(PyObject* self, PyObject* const* args, size_t flags, PyObject* keywords) {
  const Function& f = *reinterpret_cast<Function*>(self);
  const Py_ssize_t n = PyVectorcall_NARGS(flags);
  PyObject* values[kMaxParameters];
  Arguments a{.function = &f, .values = args, .rest = nullptr, .n_rest = n - f.least};
  try {
    if (n < f.least || n > f.most || keywords)
      match(f, args, n, keywords, values, a);
    else if (a.n_rest > 0)
      a.rest = args + f.least;
    return f.invoke(a);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

// ---- the type

Function& as_function(PyObject* o) { return *reinterpret_cast<Function*>(o); }

PyObject* new_str(const std::string& s) {
  return PyUnicode_FromStringAndSize(s.data(), static_cast<Py_ssize_t>(s.size()));
}
PyObject* get_name(PyObject* self, void*) { return new_str(as_function(self).signature->name); }
PyObject* get_doc(PyObject* self, void*) { return new_str(as_function(self).signature->doc); }
PyObject* get_text_signature(PyObject* self, void*) {
  return new_str(as_function(self).signature->arguments(false));
}
PyObject* get_qualified_name(PyObject* self, void*) {
  return Py_NewRef(as_function(self).signature->qualified_name.get());
}

Object inspected(const Function::Signature& s) {
  const Object inspect = import("inspect"), parameter = inspect.attr("Parameter"),
               absent = parameter.attr("empty"), list = Object::owned(PyList_New(0));
  constexpr const char* kinds[] = {"POSITIONAL_OR_KEYWORD", "VAR_POSITIONAL", "KEYWORD_ONLY"};
  for (const Parameter& p : s.parameters) {
    Dict options;
    options.set("default", p.value ? p.value : absent);
    options.set("annotation", p.type.empty() ? absent : text(p.type));
    const Object one = Object::owned(PyObject_Call(
        parameter.get(), tuple_of(p.name, parameter.attr(kinds[p.kind])).get(), options.object().get()));
    if (PyList_Append(list.get(), one.get()) < 0) throw_python_error();
  }
  Dict options;
  options.set("return_annotation", s.result.empty() ? absent : text(s.result));
  return Object::owned(
      PyObject_Call(inspect.attr("Signature").get(), tuple_of(list).get(), options.object().get()));
}
PyObject* get_signature(PyObject* self, void*) {
  Function::Signature& s = *as_function(self).signature;
  try {
    if (!s.inspected) s.inspected = inspected(s);
    return Py_NewRef(s.inspected.get());
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* bind(PyObject* self, PyObject* object, PyObject*) {
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}
PyObject* print(PyObject* self) {
  return PyUnicode_FromFormat("<function fastnn._C.%U>", as_function(self).signature->qualified_name.get());
}
// By its name: copies of an object that holds a function share it.
PyObject* reduce(PyObject* self, PyObject*) { return get_qualified_name(self, nullptr); }

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete as_function(self).signature;
  type->tp_free(self);
  Py_DECREF(type);
}

void make_function_type() {
  static PyGetSetDef attributes[] = {
      {"__name__", get_name, nullptr, nullptr, nullptr},
      {"__doc__", get_doc, nullptr, nullptr, nullptr},
      {"__text_signature__", get_text_signature, nullptr, nullptr, nullptr},
      {"__qualname__", get_qualified_name, nullptr, nullptr, nullptr},
      {"__signature__", get_signature, nullptr, nullptr, nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr},
  };
  static PyMethodDef methods[] = {
      {"__reduce__", reduce, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  static PyType_Slot slots[] = {
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(bind)},
      {Py_tp_repr, reinterpret_cast<void*>(print)},
      {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
      {Py_tp_getset, attributes},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {0, nullptr},
  };
  static PyType_Spec spec = {"fastnn._C.function", sizeof(Function), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                                 Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!function_type) throw_python_error();
}

// A function without a home yet; `qualified` is the class of one that is only a method.
Object new_function(const Definition& d, const char* qualified) {
  if (!function_type) make_function_type();
  auto s = std::make_unique<Function::Signature>(parse(d));
  s->qualified_name = text(qualified ? std::string(qualified) + '.' + s->name : s->name);
  PyObject* o = function_type->tp_alloc(function_type, 0);
  if (!o) throw_python_error();
  Function& f = as_function(o);
  const size_t n = s->parameters.size();
  f.vectorcall = call;
  f.invoke = d.invoke;
  f.target = d.target;
  f.data = d.data;
  const bool spreads = s->takes_rest && s->parameters.back().kind == Parameter::rest;
  const bool plain = static_cast<size_t>(s->positional) + spreads == n;
  f.least = plain ? s->positional : 1;
  f.most = plain ? (spreads ? PY_SSIZE_T_MAX : s->positional) : 0;
  f.signature = s.release();
  return Object::owned(o);
}

}  // namespace

std::string Function::Signature::arguments(bool types) const {
  std::string out = "(";
  bool only = false;  // a bare * was written
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    if (i > 0) out += ", ";
    if (p.kind == Parameter::keyword_only && !only && !takes_rest) out += "*, ";
    only = only || p.kind == Parameter::keyword_only;
    if (p.kind == Parameter::rest) out += '*';
    out += string_of(p.name);
    const bool typed = types && !p.type.empty();
    if (typed) out += ": " + p.type;
    if (!p.default_text.empty()) out += (typed ? " = " : "=") + p.default_text;
  }
  out += ')';
  if (types && !result.empty()) out += " -> " + result;
  return out;
}

std::string argument_of(const Arguments& a, int i) {
  return string_of(a.function->signature->parameters[static_cast<size_t>(i)].name);
}

void refuse(const Arguments& a, int i, const char* expected, PyObject* got) {
  misuse(*a.function, "argument '", argument_of(a, i), "' must be ", expected,
         may_be_none(a, i) ? ", or None" : "", ", got ", called(got ? got : a[i]));
}

void define_in(PyObject* type, const Definition& d, bool is_property) {
  const std::string_view path = reinterpret_cast<PyTypeObject*>(type)->tp_name;
  const std::string name(path.substr(path.rfind('.') + 1));
  const Object f = new_function(d, name.c_str());
  as_function(f.get()).signature->parameters[0].type = name;
  Object::shared(type).set(as_function(f.get()).signature->name.c_str(),
                           is_property ? import("builtins").attr("property")(f) : f);
}

Object inspected_signature(const char* arguments) {
  return inspected(parse({.signature = arguments, .doc = "", .invoke = nullptr}));
}

void Definitions::add(unsigned places, const Definition& d) {
  const bool module = places & kModule;
  const Object f = new_function(d, module ? nullptr : "Tensor");
  const std::string& name = as_function(f.get()).signature->name;
  if (module) add(name.c_str(), f, places & kPublic);
  if (!(places & (kMethod | kProperty))) return;
  Object::shared(reinterpret_cast<PyObject*>(tensor_type))
      .set(name.c_str(), places & kMethod ? f : import("builtins").attr("property")(f));
}

void Definitions::add(const char* name, const Object& value, bool is_public) {
  Object::shared(module_).set(name, value);
  if (is_public) public_.emplace_back(name);
}

void Definitions::finish() {
  std::sort(public_.begin(), public_.end());
  const Object list = Object::owned(PyList_New(0));
  for (const std::string& name : public_)
    if (PyList_Append(list.get(), text(name).get()) < 0) throw_python_error();
  Object::shared(module_).set("__all__", list);
}

}  // namespace fastnn
