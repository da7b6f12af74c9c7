// dtypes and devices as Python objects.
#pragma once
#include <optional>

#include "python/object.h"
#include "python/tensor.h"

namespace fastnn {

PyObject* dtype_object(DType t);  // borrowed; one object per dtype
Device parse_device(std::string_view name);
std::string print_device(Device d);

std::optional<DType> dtype_from_numpy(const Object& numpy_dtype);
Object numpy_dtype(DType t);  // throws for bfloat16, which NumPy lacks

// A dtype of ours or NumPy's or its name; a device or its name. None for anything else.
std::optional<DType> read_dtype(PyObject* o);
std::optional<Device> read_device(PyObject* o);

}  // namespace fastnn
