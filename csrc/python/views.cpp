// Views, and the methods that take dimensions.
#include <pybind11/stl.h>

#include "ops/view/view.h"
#include "python/tensor.h"

namespace fastnn {
namespace {

// x.reshape(2, 3) and x.reshape((2, 3)).
Dims dims_of(PyObject* const* args, Py_ssize_t n) {
  if (Dims dims; plain_dims(args, n, dims)) return dims;
  py::object all;
  if (n == 1 && !PyIndex_Check(args[0])) {
    all = py::reinterpret_borrow<py::object>(args[0]);
  } else {
    all = py::reinterpret_steal<py::object>(PyTuple_New(n));
    for (Py_ssize_t i = 0; i < n; ++i) PyTuple_SET_ITEM(all.ptr(), i, Py_NewRef(args[i]));
  }
  py::detail::make_caster<Dims> caster;
  check_type(caster.load(all, true), "dimensions are given as integers or as one sequence of them");
  return py::detail::cast_op<Dims&>(caster);
}

// A method of Tensor that takes dimensions: one of CPython's own, for pybind11 spends more on collecting
// *args than a view costs.
template <Tensor (*op)(const Tensor&, const Dims&)>
void dims_method(const char* name, const char* doc) {
  auto call = [](PyObject* self, PyObject* const* args, Py_ssize_t n) -> PyObject* {
    try {
      return wrap(op(unwrap(self), dims_of(args, n)));
    } catch (...) {
      set_python_error();
      return nullptr;
    }
  };
  using Function = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);
  static PyMethodDef definition = {
      name, reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(Function(call))), METH_FASTCALL, doc};
  const auto method = py::reinterpret_steal<py::object>(PyDescr_NewMethod(tensor_type, &definition));
  if (!method) throw py::error_already_set();
  py::setattr(reinterpret_cast<PyObject*>(tensor_type), name, method);
}

Tensor view(const Tensor& x, const Dims& shape) {
  Tensor y = reshape(x, shape);
  check(y.impl()->storage.get() == x.impl()->storage.get(), ErrorKind::runtime,
        "view: the strides of this tensor do not allow that shape without a copy; use reshape()");
  return y;
}

}  // namespace

void define_views(py::module_& m) {
  dims_method<reshape>(
      "reshape",
      "reshape(self: fastnn._C.Tensor, *args) -> fastnn._C.Tensor\n\n"
      "The same elements in another shape; one dimension may be -1. Shares memory where strides allow.");
  dims_method<view>("view",
                    "view(self: fastnn._C.Tensor, *args) -> fastnn._C.Tensor\n\n"
                    "As reshape, but always shares memory.");
  dims_method<permute>("permute",
                       "permute(self: fastnn._C.Tensor, *args) -> fastnn._C.Tensor\n\n"
                       "Dimensions in another order.");
  dims_method<expand>("expand",
                      "expand(self: fastnn._C.Tensor, *args) -> fastnn._C.Tensor\n\n"
                      "Repeats dimensions of size 1 without copying.");
  m.def("reshape", reshape, py::arg("x"), py::arg("shape"),
        "The same elements in another shape; one dimension may be -1.");
  m.def("permute", permute, py::arg("x"), py::arg("dims"), "Dimensions in another order.");
  m.def("transpose", transpose, py::arg("x"), py::arg("dim0"), py::arg("dim1"), "Two dimensions swapped.");
  def_method("transpose", transpose, "Two dimensions swapped.", py::arg("dim0"), py::arg("dim1"));
  m.def("squeeze", squeeze, py::arg("x"), py::arg("dim") = py::none(),
        "Without dimensions of size 1 (or without that one).");
  def_method("squeeze", squeeze, "Without dimensions of size 1 (or without that one).",
             py::arg("dim") = py::none());
  m.def("unsqueeze", unsqueeze, py::arg("x"), py::arg("dim"), "With a new dimension of size 1.");
  def_method("unsqueeze", unsqueeze, "With a new dimension of size 1.", py::arg("dim"));
  m.def("flatten", flatten, py::arg("x"), py::arg("start_dim") = 0, py::arg("end_dim") = -1,
        "Dimensions start_dim..end_dim merged into one.");
  def_method("flatten", flatten, "Dimensions start_dim..end_dim merged into one.", py::arg("start_dim") = 0,
             py::arg("end_dim") = -1);
  m.def("cat", cat, py::arg("tensors"), py::arg("dim") = 0, "Tensors joined along a dimension.");
  m.def("narrow", narrow, py::arg("x"), py::arg("dim"), py::arg("start"), py::arg("length"),
        "A range of one dimension.");
}

}  // namespace fastnn
