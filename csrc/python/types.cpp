#include "python/types.h"

#include <charconv>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "python/instance.h"
#include "python/module.h"

namespace fastnn {
namespace {

PyObject* dtype_objects[kDTypes];
PyObject* device_objects[2][kMaxDevices];  // those that were asked for

}  // namespace

Device parse_device(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  int index = 0;
  bool ok = kind == "cpu" || kind == "cuda";
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    ok = ok && error == std::errc() && end == digits.data() + digits.size() && index >= 0 &&
         index < kMaxDevices;
  }
  check_value(ok, "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", text, "\"");
  return {kind == "cpu" ? DeviceType::cpu : DeviceType::cuda, static_cast<int8_t>(index)};
}

std::string print_device(Device d) {
  return d.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(d.index);
}

PyObject* dtype_object(DType t) { return dtype_objects[static_cast<int>(t)]; }

std::optional<DType> dtype_from_numpy(const Object& numpy_dtype) {
  const std::string kind = string_of(numpy_dtype.attr("kind"));
  const int64_t bytes = integer_of(numpy_dtype.attr("itemsize"));
  if (kind == "f" && bytes == 4) return DType::float32;
  if (kind == "f" && bytes == 8) return DType::float64;
  if (kind == "f" && bytes == 2) return DType::float16;
  if (kind == "i" && bytes == 8) return DType::int64;
  if (kind == "i" && bytes == 4) return DType::int32;
  if (kind == "u" && bytes == 1) return DType::uint8;
  if (kind == "b") return DType::boolean;
  return {};
}

Object numpy_dtype(DType t) {
  check_type(t != DType::bfloat16, "NumPy has no bfloat16; convert with .to(fastnn.float32) first");
  return import("numpy").attr("dtype")(text(name_of(t)));
}

std::optional<DType> read_dtype(PyObject* o) {
  for (int i = 0; i < kDTypes; ++i)
    if (o == dtype_objects[i]) return static_cast<DType>(i);
  // NumPy's dtypes and scalar types, and their names
  const Object source = Object::shared(o);
  if (!PyUnicode_Check(o) && !source.has("dtype") && !source.has("itemsize")) return {};
  PyObject* found = PyObject_CallOneArg(import("numpy").attr("dtype").get(), o);
  if (!found) return PyErr_Clear(), std::nullopt;
  return dtype_from_numpy(Object::owned(found));
}

std::optional<Device> read_device(PyObject* o) {
  if (PyUnicode_Check(o)) return parse_device(string_of(Object::shared(o)));
  if (const Device* d = instance<Device>(o)) return *d;
  return {};
}

PyObject* To<Device>::of(Device d) {
  PyObject*& o = device_objects[static_cast<int>(d.type)][d.index];
  if (!o) o = new_instance(d);
  return Py_NewRef(o);
}

void define_types(Definitions& d) {
  for (int i = 0; i < kDTypes; ++i) {
    const DType t = static_cast<DType>(i);
    dtype_objects[i] = new_instance(t);
    d.add(name_of(t), Object::shared(dtype_objects[i]), true);
  }
}

}  // namespace fastnn
