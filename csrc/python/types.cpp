#include "python/types.h"

#include <charconv>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "python/class.h"
#include "python/module.h"

namespace fastnn {

struct PyDType {
  DType value;
};
struct PyDevice {
  Device value;
};
template <>
inline constexpr const char* class_name<PyDType> = "dtype";
template <>
inline constexpr const char* class_name<PyDevice> = "device";

namespace {

PyObject* dtype_objects[kDTypes];

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

// A device equals its name too.
bool equals(const PyDevice& d, PyObject* other) {
  const auto o = read_device(other);
  return o && d.value == *o;
}

}  // namespace

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
  try {
    return dtype_from_numpy(import("numpy").attr("dtype")(source));
  } catch (const PythonError&) {
    return {};
  }
}

std::optional<Device> read_device(PyObject* o) {
  if (is_boxed<PyDevice>(o)) return unboxed<PyDevice>(o).value;
  if (!PyUnicode_Check(o)) return {};
  return parse_device(string_of(Object::shared(o)));
}

PyObject* To<Device>::of(Device d) { return boxed(PyDevice{d}); }

void define_types(Definitions& d) {
  Class<PyDType>(d, "The type of a tensor's elements.", true)
      .property("name(self)", [](const PyDType& t) { return name_of(t.value); })
      .property(
          "itemsize(self)", [](const PyDType& t) { return size_of(t.value); }, "Bytes per element.")
      .property("is_floating_point(self)", [](const PyDType& t) { return is_floating(t.value); })
      .method("__repr__(self)", [](const PyDType& t) { return std::string("fastnn.") + name_of(t.value); })
      .method("__reduce__(self)", [](const PyDType& t) { return name_of(t.value); });
  for (int i = 0; i < kDTypes; ++i) {
    const DType t = static_cast<DType>(i);
    dtype_objects[i] = boxed(PyDType{t});
    d.add(name_of(t), Object::shared(dtype_objects[i]), true);
  }

  Class<PyDevice>(d, "Where a tensor lives: device(\"cpu\"), device(\"cuda:0\").", true)
      .make("device(cls, name)",
            [](PyObject*, const std::string& name) { return PyDevice{parse_device(name)}; })
      .property("type(self)",
                [](const PyDevice& d) { return d.value.type == DeviceType::cpu ? "cpu" : "cuda"; })
      .property("index(self)", [](const PyDevice& d) { return int{d.value.index}; })
      .method("__eq__(self, other: object, /)", equals)
      .method("__hash__(self)",
              [](const PyDevice& d) { return static_cast<int>(d.value.type) * 64 + d.value.index; })
      .method("__str__(self)", [](const PyDevice& d) { return print_device(d.value); })
      .method("__repr__(self)", [](const PyDevice& d) { return "device('" + print_device(d.value) + "')"; });
}

}  // namespace fastnn
