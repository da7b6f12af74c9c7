#include "python/types.h"

#include <charconv>
#include <string>
#include <string_view>

namespace fastnn {
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
    ok = ok && error == std::errc() && end == digits.data() + digits.size() && index >= 0 && index < 8;
  }
  check_value(ok, "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", text, "\"");
  return {kind == "cpu" ? DeviceType::cpu : DeviceType::cuda, static_cast<int8_t>(index)};
}

std::string print_device(Device d) {
  return d.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(d.index);
}

}  // namespace

PyObject* dtype_object(DType t) { return dtype_objects[static_cast<int>(t)]; }

std::optional<DType> dtype_from_numpy(py::handle numpy_dtype) {
  const std::string kind = py::str(numpy_dtype.attr("kind"));
  const auto bytes = numpy_dtype.attr("itemsize").cast<int>();
  if (kind == "f" && bytes == 4) return DType::float32;
  if (kind == "f" && bytes == 8) return DType::float64;
  if (kind == "f" && bytes == 2) return DType::float16;
  if (kind == "i" && bytes == 8) return DType::int64;
  if (kind == "i" && bytes == 4) return DType::int32;
  if (kind == "u" && bytes == 1) return DType::uint8;
  if (kind == "b") return DType::boolean;
  return {};
}

py::object numpy_dtype(DType t) {
  check_type(t != DType::bfloat16, "NumPy has no bfloat16; convert with .to(fastnn.float32) first");
  return py::module_::import("numpy").attr("dtype")(name_of(t));
}

void define_types(py::module_& m) {
  py::class_<PyDType> cls(m, "dtype", "The type of a tensor's elements.");
  cls.def_property_readonly("name", [](const PyDType& t) { return name_of(t.value); })
      .def_property_readonly(
          "itemsize", [](const PyDType& t) { return size_of(t.value); }, "Bytes per element.")
      .def_property_readonly("is_floating_point", [](const PyDType& t) { return is_floating(t.value); })
      .def("__repr__", [](const PyDType& t) { return std::string("fastnn.") + name_of(t.value); })
      .def("__reduce__", [](const PyDType& t) { return py::str(name_of(t.value)); });
  for (int i = 0; i < kDTypes; ++i) {
    const DType t = static_cast<DType>(i);
    dtype_objects[i] = py::cast(PyDType{t}).release().ptr();
    m.attr(t == DType::boolean ? "bool" : name_of(t)) = py::handle(dtype_objects[i]);
  }

  py::class_<PyDevice>(m, "device", "Where a tensor lives: device(\"cpu\"), device(\"cuda:0\").")
      .def(py::init([](const std::string& text) { return PyDevice{parse_device(text)}; }), py::arg("name"))
      .def_property_readonly("type",
                             [](PyDevice d) { return d.value.type == DeviceType::cpu ? "cpu" : "cuda"; })
      .def_property_readonly("index", [](PyDevice d) { return static_cast<int>(d.value.index); })
      .def("__eq__",
           [](PyDevice d, const py::object& other) {
             if (py::isinstance<py::str>(other)) return d.value == parse_device(other.cast<std::string>());
             return py::isinstance<PyDevice>(other) && d.value == other.cast<PyDevice>().value;
           })
      .def("__hash__", [](PyDevice d) { return static_cast<int>(d.value.type) * 64 + d.value.index; })
      .def("__str__", [](PyDevice d) { return print_device(d.value); })
      .def("__repr__", [](PyDevice d) { return "device('" + print_device(d.value) + "')"; });
}

}  // namespace fastnn

namespace pybind11::detail {

bool type_caster<fastnn::DType>::load(handle source, bool) {
  for (int i = 0; i < fastnn::kDTypes; ++i)
    if (source.ptr() == fastnn::dtype_objects[i]) {
      value = static_cast<fastnn::DType>(i);
      return true;
    }
  // NumPy's dtypes and scalar types, and their names
  if (!isinstance<str>(source) && !hasattr(source, "dtype") && !hasattr(source, "itemsize")) return false;
  object described;
  try {
    described = module_::import("numpy").attr("dtype")(source);
  } catch (error_already_set&) {
    return false;
  }
  const auto found = fastnn::dtype_from_numpy(described);
  if (found) value = *found;
  return found.has_value();
}

handle type_caster<fastnn::DType>::cast(fastnn::DType t, return_value_policy, handle) {
  return handle(fastnn::dtype_object(t)).inc_ref();
}

bool type_caster<fastnn::Device>::load(handle source, bool) {
  if (isinstance<str>(source)) {
    value = fastnn::parse_device(source.cast<std::string_view>());
    return true;
  }
  if (!isinstance<fastnn::PyDevice>(source)) return false;
  value = source.cast<fastnn::PyDevice>().value;
  return true;
}

handle type_caster<fastnn::Device>::cast(fastnn::Device d, return_value_policy, handle) {
  return pybind11::cast(fastnn::PyDevice{d}).release();
}

}  // namespace pybind11::detail
