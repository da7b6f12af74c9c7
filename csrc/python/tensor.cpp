#include "python/tensor.h"

#include <structmember.h>

#include "core/autograd.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/matmul.h"
#include "ops/view/view.h"
#include "python/types.h"

namespace fastnn {

PyTypeObject* tensor_type = nullptr;

namespace {

PyObject* repr_function = nullptr;  // written in Python; see python/fastnn/_tensor.py

PyTensor* as_object(PyObject* o) { return reinterpret_cast<PyTensor*>(o); }

PyObject* new_object(PyTypeObject* type, const Tensor& t) {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) throw py::error_already_set();
  new (&as_object(self)->tensor) Tensor(t);
  t.impl()->py_object = self;
  return self;
}

// A subclass shows another tensor's memory under a new identity; Tensor itself is made by fastnn.tensor().
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject*) {
  if (type == tensor_type || PyTuple_GET_SIZE(args) < 1 || !is_tensor(PyTuple_GET_ITEM(args, 0))) {
    PyErr_SetString(PyExc_TypeError,
                    "Tensor: make tensors with fastnn.tensor(data), fastnn.zeros(shape), ...");
    return nullptr;
  }
  try {
    return new_object(type, detach(unwrap(PyTuple_GET_ITEM(args, 0))));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

void tensor_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  // First of all: a weak reference's callback that meets the tensor must get another object, not this dying
  // one.
  if (TensorImpl* impl = as_object(self)->tensor.impl(); impl && impl->py_object == self)
    impl->py_object = nullptr;
  if (as_object(self)->weakrefs) PyObject_ClearWeakRefs(self);
  as_object(self)->tensor.~Tensor();
  type->tp_free(self);
  Py_DECREF(type);
}

// ---- operators
// ----------------------------------------------------------------------------------------------------------
template <Tensor (*op)(const Operand&, const Operand&)>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  try {
    if (Py_TYPE(a) == tensor_type && Py_TYPE(b) == tensor_type) return wrap(op(unwrap(a), unwrap(b)));
    Tensor x, y;
    Operand first(0), second(0);
    if (!to_operand(a, &x, &first) || !to_operand(b, &y, &second)) Py_RETURN_NOTIMPLEMENTED;
    return wrap(op(first, second));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
template <class R>
Tensor row_op(const Operand& a, const Operand& b) {
  return binary(elementwise_ops()[kRowId<R>], a, b, nullptr);
}
template <class R>
constexpr auto binary_row = binary_slot<row_op<R>>;
template <class R>
PyObject* in_place_slot(PyObject* a, PyObject* b) {
  try {
    Tensor y;
    Operand second(0);
    if (!to_operand(b, &y, &second)) Py_RETURN_NOTIMPLEMENTED;
    binary_(elementwise_ops()[kRowId<R>], unwrap(a), second, nullptr);
    return Py_NewRef(a);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
Tensor matrix_product(const Operand& a, const Operand& b) {
  const Tensor x = a.is_number() ? scalar(a.number().as_double()) : a.tensor();
  const Tensor y = b.is_number() ? scalar(b.number().as_double()) : b.tensor();
  return matmul(x, y);
}
template <class R>
PyObject* unary_slot(PyObject* a) {
  try {
    return wrap(unary(elementwise_ops()[kRowId<R>], unwrap(a), nullptr));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
PyObject* pow_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return binary_slot<power>(a, b);
}
PyObject* positive_slot(PyObject* a) { return Py_NewRef(a); }

PyObject* compare_slot(PyObject* a, PyObject* b, int which) {
  switch (which) {
    case Py_EQ:
      return binary_row<rows::Eq>(a, b);
    case Py_NE:
      return binary_row<rows::Ne>(a, b);
    case Py_LT:
      return binary_row<rows::Lt>(a, b);
    case Py_LE:
      return binary_row<rows::Le>(a, b);
    case Py_GT:
      return binary_row<rows::Gt>(a, b);
    default:
      return binary_row<rows::Ge>(a, b);
  }
}

// ---- single elements
// ------------------------------------------------------------------------------------------------------
template <class F>
auto with_element(const char* what, const Tensor& t, F&& f) {
  check_value(t.numel() == 1, what,
              ": only a tensor of one element has a truth value or becomes a number, got shape ", t.shape());
  const Tensor host = to_device(detach(t), Device{});
  if (is_floating(t.dtype())) return f(*cast(host, DType::float64).data<double>());
  return f(static_cast<long long>(*cast(host, DType::int64).data<int64_t>()));
}
int bool_slot(PyObject* a) {
  try {
    return with_element("bool", unwrap(a), [](auto v) { return v != 0; });
  } catch (...) {
    set_python_error();
    return -1;
  }
}
template <bool to_float>
PyObject* number_slot(PyObject* a) {
  try {
    return with_element(to_float ? "float" : "int", unwrap(a), [](auto v) {
      if constexpr (to_float)
        return PyFloat_FromDouble(static_cast<double>(v));
      else if constexpr (std::is_same_v<decltype(v), double>)
        return PyLong_FromDouble(v);
      else
        return PyLong_FromLongLong(v);
    });
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
PyObject* index_slot(PyObject* a) {
  if (is_floating(unwrap(a).dtype())) {
    PyErr_SetString(PyExc_TypeError, "only integer tensors of one element can be used as an index");
    return nullptr;
  }
  return number_slot<false>(a);
}
PyObject* item(const Tensor& t) {
  return with_element("item", t, [&](auto v) -> PyObject* {
    if (t.dtype() == DType::boolean) return PyBool_FromLong(v != 0);
    if constexpr (std::is_same_v<decltype(v), double>)
      return PyFloat_FromDouble(v);
    else
      return PyLong_FromLongLong(v);
  });
}

// ---- containers
// -------------------------------------------------------------------------------------------------------------
Py_ssize_t length_slot(PyObject* self) {
  if (unwrap(self).dim() > 0) return unwrap(self).size(0);
  PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
  return -1;
}
PyObject* item_slot(PyObject* self, Py_ssize_t i) {
  try {
    return wrap(select(unwrap(self), 0, i));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
PyObject* subscript_slot(PyObject* self, PyObject* key) {
  try {
    return wrap(get_item(unwrap(self), key));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
int assign_slot(PyObject* self, PyObject* key, PyObject* value) {
  try {
    check_type(value != nullptr, "elements of a tensor cannot be deleted");
    set_item(unwrap(self), key, value);
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}
PyObject* iterate_slot(PyObject* self) {
  if (length_slot(self) < 0) return nullptr;
  return PySeqIter_New(self);
}

// By identity, as for any object; the low bits of an address are always 0.
Py_hash_t hash_slot(PyObject* self) { return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self) >> 4); }
PyObject* repr_slot(PyObject* self) {
  if (repr_function) return PyObject_CallOneArg(repr_function, self);
  return PyUnicode_FromString("<Tensor>");
}

// ---- attributes
// -----------------------------------------------------------------------------------------------------------
PyObject* tuple_of(const Dims& dims) { return py::detail::type_caster<Dims>::cast(dims, {}, {}).ptr(); }
PyObject* get_shape(PyObject* self, void*) { return tuple_of(unwrap(self).shape()); }
PyObject* get_dtype(PyObject* self, void*) { return Py_NewRef(dtype_object(unwrap(self).dtype())); }
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(unwrap(self).dim()); }
PyObject* get_requires_grad(PyObject* self, void*) { return PyBool_FromLong(unwrap(self).requires_grad()); }
PyObject* get_grad(PyObject* self, void*) { return wrap(Tensor(unwrap(self).impl()->grad)); }
PyObject* get_device(PyObject* self, void*) { return py::cast(unwrap(self).device()).release().ptr(); }

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  const int on = value ? PyObject_IsTrue(value) : -1;
  if (on < 0) return -1;
  const Tensor& t = unwrap(self);
  try {
    check(t.is_leaf(), ErrorKind::runtime, "requires_grad: only a leaf can be changed; use detach()");
    check(!on || is_floating(t.dtype()), ErrorKind::runtime,
          "requires_grad: only floating tensors can, this is ", t.dtype());
    t.impl()->requires_grad = on;
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}
// x.data = value: the same tensor over other memory, also of another dtype. Whoever saved x for a backward
// pass must notice, so the version goes beyond all that were.
void set_data(const Tensor& x, const Tensor& value) {
  check_value(x.is_leaf() && !x.impl()->is_view, "data: only a leaf that is no view can be given other data");
  check_value(value.shape() == x.shape(), "data: the new data has shape ", value.shape(), ", the tensor ",
              x.shape());
  check(!x.impl()->requires_grad || is_floating(value.dtype()), ErrorKind::runtime,
        "data: a tensor that requires a gradient must be floating, not ", value.dtype());
  const uint32_t before = x.impl()->storage->version.load(), given = value.impl()->storage->version.load();
  TensorImpl* impl = x.impl();
  impl->storage = value.impl()->storage;
  impl->offset = value.impl()->offset;
  impl->strides = value.strides();
  impl->dtype = value.dtype();
  impl->storage->version.store((before > given ? before : given) + 1);
}

int set_grad(PyObject* self, PyObject* value, void*) {
  const Tensor& t = unwrap(self);
  try {
    if (!value || value == Py_None) {
      t.impl()->grad = nullptr;
      return 0;
    }
    check_type(is_tensor(value), "grad: must be a Tensor or None");
    const Tensor& g = unwrap(value);
    check_value(g.shape() == t.shape() && g.dtype() == t.dtype() && g.device() == t.device(), "grad: a ",
                g.dtype(), " tensor of shape ", g.shape(), " on ", g.device(),
                " cannot be the gradient of a ", t.dtype(), " tensor of shape ", t.shape(), " on ",
                t.device());
    t.impl()->grad = g.ref();
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}

PyGetSetDef attributes[] = {
    {"shape", get_shape, nullptr, "Sizes of the dimensions.", nullptr},
    {"dtype", get_dtype, nullptr, "Type of the elements.", nullptr},
    {"device", get_device, nullptr, "Where the elements are.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of dimensions.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether gradients flow to this tensor.",
     nullptr},
    {"grad", get_grad, set_grad, "Sum of the gradients that backward() has brought, or None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

PyObject* wrap(const Tensor& t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (PyObject* existing = static_cast<PyObject*>(t.impl()->py_object)) return Py_NewRef(existing);
  return new_object(tensor_type, t);
}

bool to_operand(PyObject* o, Tensor* own, Operand* out) {
  if (is_tensor(o)) {
    *out = unwrap(o);
  } else if (PyFloat_Check(o)) {
    *out = PyFloat_AS_DOUBLE(o);
  } else if (PyBool_Check(o)) {
    *out = o == Py_True;
  } else if (PyLong_Check(o)) {
    int overflow;
    const int64_t value = PyLong_AsLongLongAndOverflow(o, &overflow);
    check_value(overflow == 0, "an integer operand does not fit 64 bits");
    *out = value;
  } else if (py::hasattr(o, "__array_interface__")) {
    *own = tensor_from_numpy(o, true);
    *out = *own;
  } else {
    return false;
  }
  return true;
}

bool to_operand(PyObject* o, Tensor* out) {
  Operand operand(0);
  if (!to_operand(o, out, &operand)) return false;
  if (!operand.is_number()) {
    *out = operand.tensor();
    return true;
  }
  const Number n = operand.number();
  *out = n.kind == Number::real      ? scalar(n.value)
         : n.kind == Number::integer ? scalar(n.whole)
                                     : scalar(n.whole != 0);
  return true;
}

void define_tensor_type(py::module_& m) {
  static PyType_Slot slots[] = {
      {Py_tp_doc,
       const_cast<char*>(
           "A typed, strided array with a tape for gradients. Made by fastnn.tensor() and its kin.")},
      {Py_tp_new, slot(tensor_new)},
      {Py_tp_dealloc, slot(tensor_dealloc)},
      {Py_tp_getset, attributes},
      {Py_tp_members, members},
      {Py_tp_repr, slot(repr_slot)},
      {Py_tp_hash, slot(hash_slot)},
      {Py_tp_richcompare, slot(compare_slot)},
      {Py_tp_iter, slot(iterate_slot)},
      {Py_nb_add, slot(binary_row<rows::Add>)},
      {Py_nb_subtract, slot(binary_row<rows::Sub>)},
      {Py_nb_multiply, slot(binary_row<rows::Mul>)},
      {Py_nb_true_divide, slot(binary_row<rows::Div>)},
      {Py_nb_matrix_multiply, slot(binary_slot<matrix_product>)},
      {Py_nb_power, slot(pow_slot)},
      {Py_nb_inplace_add, slot(in_place_slot<rows::Add>)},
      {Py_nb_inplace_subtract, slot(in_place_slot<rows::Sub>)},
      {Py_nb_inplace_multiply, slot(in_place_slot<rows::Mul>)},
      {Py_nb_inplace_true_divide, slot(in_place_slot<rows::Div>)},
      {Py_nb_negative, slot(unary_slot<rows::Neg>)},
      {Py_nb_positive, slot(positive_slot)},
      {Py_nb_absolute, slot(unary_slot<rows::Abs>)},
      {Py_nb_invert, slot(unary_slot<rows::LogicalNot>)},
      {Py_nb_and, slot(binary_row<rows::LogicalAnd>)},
      {Py_nb_or, slot(binary_row<rows::LogicalOr>)},
      {Py_nb_bool, slot(bool_slot)},
      {Py_nb_float, slot(number_slot<true>)},
      {Py_nb_int, slot(number_slot<false>)},
      {Py_nb_index, slot(index_slot)},
      {Py_sq_length, slot(length_slot)},
      {Py_sq_item, slot(item_slot)},
      {Py_mp_length, slot(length_slot)},
      {Py_mp_subscript, slot(subscript_slot)},
      {Py_mp_ass_subscript, slot(assign_slot)},
      {0, nullptr},
  };
  static PyType_Spec spec = {"fastnn._C.Tensor", sizeof(PyTensor), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!tensor_type) throw py::error_already_set();
  m.attr("Tensor") = py::handle(reinterpret_cast<PyObject*>(tensor_type));
  py::setattr(m.attr("Tensor"), "__array_ufunc__", py::none());  // NumPy leaves `array + tensor` to us

  m.def(
      "_set_repr", [](py::object f) { repr_function = f.release().ptr(); },
      "Sets the function that prints tensors.");
  m.def("_set_data", set_data);
  def_method(
      "item", [](const Tensor& t) { return py::reinterpret_steal<py::object>(item(t)); },
      "The value of a tensor of one element, as a Python number.");
}

}  // namespace fastnn
