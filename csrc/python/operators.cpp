// Tensor's operators, its truth and numbers, its elements: the slots of the Python type.
#include "python/operators.h"

#include "core/autograd.h"
#include "core/trace.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/matmul.h"
#include "ops/view/view.h"
#include "python/object.h"

namespace fastnn {
namespace {

// ---- arithmetic and comparisons

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
const ElementwiseOp& row() {
  return elementwise_ops()[kRowId<R>];
}
template <class R>
Tensor binary_of(const Operand& a, const Operand& b) {
  return binary(row<R>(), a, b, nullptr);
}
template <class R>
constexpr auto binary_row = binary_slot<binary_of<R>>;
Tensor matrix_product(const Operand& a, const Operand& b) {
  if (!a.is_number() && !b.is_number()) return matmul(a.tensor(), b.tensor());
  return matmul(a.is_number() ? scalar(a.number()) : a.tensor(),
                b.is_number() ? scalar(b.number()) : b.tensor());
}
template <class R>
Tensor in_place_of(const Tensor& a, const Operand& b) {
  return binary_(row<R>(), a, b, nullptr);
}
template <Tensor (*op)(const Tensor&, const Operand&)>
PyObject* write_slot(PyObject* a, PyObject* b) {
  try {
    Tensor y;
    Operand second(0);
    if (!to_operand(b, &y, &second)) Py_RETURN_NOTIMPLEMENTED;
    op(unwrap(a), second);
    return Py_NewRef(a);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
template <class R>
PyObject* unary_slot(PyObject* a) {
  try {
    return wrap(unary(row<R>(), unwrap(a), nullptr));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
PyObject* pow_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return binary_slot<power>(a, b);
}
template <class R>
constexpr auto in_place_slot = write_slot<in_place_of<R>>;
PyObject* in_place_pow_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return write_slot<power_>(a, b);
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

template <class F>
auto with_element(const char* what, const Tensor& t, F&& f) {
  check_value(t.numel() == 1, what,
              ": only a tensor of one element has a truth value or becomes a number, got shape ", t.shape());
  OpScope scope("item", t);
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

// ---- containers

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

template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

Object item(const Tensor& t) {
  return Object::owned(with_element("item", t, [&](auto v) -> PyObject* {
    if (t.dtype() == DType::boolean) return PyBool_FromLong(v != 0);
    if constexpr (std::is_same_v<decltype(v), double>)
      return PyFloat_FromDouble(v);
    else
      return PyLong_FromLongLong(v);
  }));
}

std::vector<PyType_Slot> operator_slots() {
  return {
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
      {Py_nb_inplace_power, slot(in_place_pow_slot)},
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
  };
}

}  // namespace fastnn
