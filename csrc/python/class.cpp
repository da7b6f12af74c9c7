#include "python/class.h"

namespace fastnn {

void refuse_class(const Arguments& a, int i, const char* name) {
  refuse(a, i, (std::string("a ") + name).c_str());
}

void set_property(const Object& type, const Object& get) {
  type.set(string_of(get.attr("__name__")).c_str(),
           import("builtins").attr("property")(get, none(), none(), get.attr("__doc__")));
}

ClassBase::ClassBase(const char* name, const char* doc, size_t size, destructor destroy) : name_(name) {
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(doc)},
      {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
      {0, nullptr},
  };
  // Python keeps the name it is given.
  auto* qualified = new std::string(std::string("fastnn._C.") + name);
  PyType_Spec spec = {qualified->c_str(), static_cast<int>(size), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  type_ = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type_) throw PythonError();
}

void ClassBase::add(const char* attribute, const Definition& d) const {
  const Object f = new_function(d, name_);
  type().set(attribute ? attribute : string_of(f.attr("__name__")).c_str(), f);
}

void ClassBase::add_property(const Definition& d) const { set_property(type(), new_function(d, name_)); }

}  // namespace fastnn
