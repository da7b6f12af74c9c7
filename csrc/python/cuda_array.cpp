// The CUDA array interface (version 3): what Numba, CuPy and others read and offer.
#include "core/launch.h"
#include "python/convert.h"
#include "python/exchange.h"
#include "python/types.h"

namespace fastnn {
namespace {

Object entry(const Object& dict, const char* key) {
  return Object::owned(PyObject_GetItem(dict.get(), text(key).get()));
}
Object optional_entry(const Object& dict, const char* key) {
  return PyMapping_HasKeyString(dict.get(), key) ? entry(dict, key) : none();
}

Object cuda_array_interface(const Tensor& t) {
  if (t.device().type == DeviceType::cpu) {
    PyErr_SetString(PyExc_AttributeError, "only tensors on a CUDA device have a __cuda_array_interface__");
    throw_python_error();
  }
  check(!t.requires_grad(), ErrorKind::runtime,
        "__cuda_array_interface__: the tensor requires grad; use detach()");
  Dict d = array_interface(t, t.numel() ? t.data() : nullptr);
  d.set("stream", integer(stream_number(t.device())));
  keep_lent(t);
  return d.object();
}

Tensor from_cuda_array(const Object& source, const std::optional<Device>& given) {
  check_type(source.has("__cuda_array_interface__"),
             "from_cuda_array: expected an object with __cuda_array_interface__, got ",
             Py_TYPE(source.get())->tp_name);
  const Object d = source.attr("__cuda_array_interface__"), typestr = entry(d, "typestr");
  const Object element = import("numpy").attr("dtype")(typestr);
  check_type(string_of(element.attr("byteorder")) != ">",
             "from_cuda_array: elements of foreign byte order are not supported");
  const auto dtype = dtype_from_numpy(element);
  check_type(dtype.has_value(), "from_cuda_array: elements of type ", printed(typestr), " are not supported");
  check(optional_entry(d, "mask").is_none(), ErrorKind::not_implemented,
        "from_cuda_array: masked arrays are not supported");
  Dims shape;
  const Items sizes(entry(d, "shape"));
  for (Py_ssize_t i = 0; i < sizes.size(); ++i) shape.push_back(integer_of(sizes[i]));
  checked_numel("from_cuda_array", shape);
  Dims strides = row_major_strides(shape);
  const auto size = static_cast<int64_t>(size_of(*dtype));
  if (const Object given_strides = optional_entry(d, "strides"); !given_strides.is_none()) {
    const Items bytes(given_strides);
    check_value(bytes.size() == shape.size(), "from_cuda_array: ", bytes.size(), " strides for ",
                shape.size(), " dimensions");
    for (int i = 0; i < shape.size(); ++i) {
      const int64_t stride = integer_of(bytes[i]);
      check_value(stride % size == 0, "from_cuda_array: strides must be whole elements");
      strides[i] = stride / size;
    }
  }
  const Object data = entry(d, "data");
  void* memory = address_of(data.item(0));
  Device device = given.value_or(Device{DeviceType::cuda, 0});
  const Backend& backend = backend_of(device);
  if (const int owner = given || !memory ? kHost : backend.streams->owner(memory, 0); owner != kHost)
    device.index = static_cast<int8_t>(owner);
  check_place("from_cuda_array", memory, shape, *dtype, device);
  if (const Object stream = optional_entry(d, "stream"); !stream.is_none()) {
    const int index = device.index;
    const Status status =
        backend.streams->order(index, foreign_stream(stream_given("from_cuda_array", stream, 0)),
                               backend.streams->handle(index, backend.context(index).stream_number));
    if (status != Status::ok) fail_launch("from_cuda_array", status, device);
  }
  Tensor t =
      from_memory(memory, shape, strides, *dtype, device, drop_python_object, Object(source).release());
  t.impl()->storage->read_only = truth_of(data.item(1));
  return t;
}

}  // namespace

void define_cuda_array(Definitions& d) {
  d.internal("_from_cuda_array(source, device)", from_cuda_array);
  d.internal("_cuda_array_interface(x) -> dict[str, Any]", cuda_array_interface);
}

}  // namespace fastnn
