// The Python classes fastnn.dtype and fastnn.device.
#pragma once
#include "python/tensor.h"

namespace fastnn {

struct PyDType {
  DType value;
};

struct PyDevice {
  Device value;
};

PyObject* dtype_object(DType t);  // borrowed; one object per dtype
std::optional<DType> dtype_from_numpy(py::handle numpy_dtype);
py::object numpy_dtype(DType t);  // throws for bfloat16, which NumPy lacks
void define_types(py::module_& m);

}  // namespace fastnn
