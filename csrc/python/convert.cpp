#include "python/convert.h"

#include "python/types.h"

namespace fastnn {
namespace {

// One more dimension; false, without a Python error, where the object is no int.
bool push(PyObject* item, Dims& dims) {
  if (!PyIndex_Check(item)) return false;
  PyObject* number = PyNumber_Index(item);
  if (!number) return PyErr_Clear(), false;
  int overflow;
  const int64_t value = PyLong_AsLongLongAndOverflow(number, &overflow);
  Py_DECREF(number);
  check_value(overflow == 0, "an integer argument does not fit 64 bits");
  dims.push_back(value);
  return true;
}

// Dimensions given the usual way, as plain ints that fit 64 bits: layers of small nets spend as long on their
// sizes as on anything else.
bool plain_dims(PyObject* const* item, Py_ssize_t n, Dims& dims) {
  if (n > kMaxDims) return false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    int overflow = 0;
    if (!PyLong_CheckExact(item[i])) return false;
    dims.push_back(PyLong_AsLongLongAndOverflow(item[i], &overflow));
    if (overflow) return false;
  }
  return true;
}

bool read_dims(PyObject* o, Dims& dims) {
  if (PyTuple_CheckExact(o) && plain_dims(PySequence_Fast_ITEMS(o), PyTuple_GET_SIZE(o), dims)) return true;
  dims = Dims();
  if (PyIndex_Check(o) && !is_tensor(o)) return push(o, dims);
  if (!PySequence_Check(o) || PyUnicode_Check(o)) return false;
  PyObject* fast = PySequence_Fast(o, "");
  if (!fast) return PyErr_Clear(), false;
  const Object items = Object::owned(fast);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast); ++i)
    if (!push(PySequence_Fast_GET_ITEM(fast, i), dims)) return false;
  return true;
}

Object number_of(const Arguments& a, int i) {
  if (!PyIndex_Check(a[i])) refuse(a, i, "an int");
  return Object::owned(PyNumber_Index(a[i]));
}

}  // namespace

Tensor as_operand(const Arguments& a, int i) {
  Tensor t;
  if (a[i] == Py_None && may_be_none(a, i)) return t;
  if (!to_operand(a[i], &t)) refuse(a, i, "a Tensor, a number or a NumPy array");
  return t;
}

void as_operand(const Arguments& a, int i, Tensor* held, Operand* operand) {
  if (!to_operand(a[i], held, operand)) refuse(a, i, "a Tensor, a number or a NumPy array");
}

std::vector<Tensor> as_tensors(const Arguments& a, int i) {
  constexpr const char* expected = "a sequence of Tensors";
  if (PyUnicode_Check(a[i]) || PyBytes_Check(a[i]) || !(PySequence_Check(a[i]) || PyIter_Check(a[i])))
    refuse(a, i, expected);
  const Object items = Object::owned(PySequence_Fast(a[i], expected));
  PyObject* const* item = PySequence_Fast_ITEMS(items.get());
  std::vector<Tensor> tensors(static_cast<size_t>(PySequence_Fast_GET_SIZE(items.get())));
  for (Tensor& t : tensors) {
    if (!to_operand(*item, &t)) refuse(a, i, expected, *item);
    ++item;
  }
  return tensors;
}

int64_t as_integer(const Arguments& a, int i) {
  int overflow;
  const int64_t value = PyLong_CheckExact(a[i])
                            ? PyLong_AsLongLongAndOverflow(a[i], &overflow)
                            : PyLong_AsLongLongAndOverflow(number_of(a, i).get(), &overflow);
  check_value(overflow == 0, op_of(a), ": ", argument_of(a, i), " does not fit 64 bits");
  return value;
}

uint64_t as_unsigned(const Arguments& a, int i) {
  const uint64_t value = PyLong_AsUnsignedLongLong(number_of(a, i).get());
  if (value == UINT64_MAX && PyErr_Occurred()) {
    PyErr_Clear();
    fail(ErrorKind::value, op_of(a), ": ", argument_of(a, i), " must be from 0 to 2^64 - 1");
  }
  return value;
}

double as_float(const Arguments& a, int i) {
  if (PyFloat_CheckExact(a[i])) return PyFloat_AS_DOUBLE(a[i]);
  check_type(!is_tensor(a[i]) || !unwrap(a[i]).requires_grad(), op_of(a), ": ", argument_of(a, i),
             " must be a number: no gradient would come to a tensor that requires one");
  const double value = PyFloat_AsDouble(a[i]);
  if (value == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw_python_error();
    PyErr_Clear();
    refuse(a, i, "a number");
  }
  return value;
}

bool as_truth(const Arguments& a, int i) {
  if (PyBool_Check(a[i])) return a[i] == Py_True;
  const PyNumberMethods* numbers = Py_TYPE(a[i])->tp_as_number;
  if (!numbers || !numbers->nb_bool) refuse(a, i, "True or False");
  return truth_of(Object::shared(a[i]));
}

std::string_view as_text(const Arguments& a, int i) {
  if (!PyUnicode_Check(a[i])) refuse(a, i, "a str");
  Py_ssize_t size;
  const char* data = PyUnicode_AsUTF8AndSize(a[i], &size);
  if (!data) throw_python_error();
  return {data, static_cast<size_t>(size)};
}

Dims as_dims(const Arguments& a, int i, const char* expected) {
  Dims dims;
  if (!read_dims(a[i], dims)) refuse(a, i, expected);
  return dims;
}

Dims as_rest_dims(const Arguments& a, int i) {
  Dims dims;
  if (plain_dims(a.rest, a.n_rest, dims)) return dims;
  dims = Dims();
  if (a.n_rest == 1 && read_dims(a.rest[0], dims)) return dims;
  dims = Dims();
  for (Py_ssize_t k = 0; k < a.n_rest; ++k)
    if (!push(a.rest[k], dims)) refuse(a, i, "ints or one sequence of them", a.rest[k]);
  return dims;
}

DType as_dtype(const Arguments& a, int i) {
  const auto t = read_dtype(a[i]);
  if (!t) refuse(a, i, "a dtype");
  return *t;
}

Device as_device(const Arguments& a, int i) {
  const auto d = read_device(a[i]);
  if (!d) refuse(a, i, "a device or its name");
  return *d;
}

void fail_word(const Arguments& a, int i, const char* const* words, size_t n) {
  std::string list;
  for (size_t k = 0; k < n; ++k)
    list += std::string(k == 0 ? "'" : k + 1 == n ? " or '" : ", '") + words[k] + '\'';
  fail(ErrorKind::value, op_of(a), ": ", argument_of(a, i), " must be ", list, ", got '", as_text(a, i),
       '\'');
}

PyObject* To<Dims>::of(const Dims& dims) {
  PyObject* tuple = PyTuple_New(dims.size());
  for (int i = 0; tuple && i < dims.size(); ++i) PyTuple_SET_ITEM(tuple, i, PyLong_FromLongLong(dims[i]));
  return tuple;
}

PyObject* To<DType>::of(DType t) { return Py_NewRef(dtype_object(t)); }

PyObject* To<std::pair<Tensor, Tensor>>::of(const std::pair<Tensor, Tensor>& pair) {
  const Object first = Object::owned(wrap(pair.first)), second = Object::owned(wrap(pair.second));
  return tuple_of(first, second).release();
}

}  // namespace fastnn
