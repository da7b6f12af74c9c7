// x[key]: integers, slices, ... and None are views; integer and bool arrays gather.
#include <optional>
#include <span>
#include <vector>

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/view/view.h"
#include "python/object.h"
#include "python/tensor.h"

namespace fastnn {
namespace {

struct Key {
  Slices slices;               // one per dimension of x
  std::vector<int> new_axes;   // positions in the sliced tensor where None puts a dimension of size 1
  std::vector<Tensor> arrays;  // per dimension of the result so far; undefined where none
  bool advanced = false;
};

bool is_array(PyObject* o) {
  return (is_tensor(o) && !(unwrap(o).dim() == 0 && unwrap(o).dtype() != DType::boolean)) ||
         PyList_Check(o) ||
         (!is_tensor(o) && !PyLong_Check(o) && PyObject_HasAttrString(o, "__array_interface__") &&
          integer_of(Object::shared(o).attr("ndim")) > 0);
}

Tensor as_index(PyObject* o) {
  Tensor t;
  if (is_tensor(o))
    t = unwrap(o);
  else if (PyList_Check(o)) {
    // NumPy reads nested lists; an empty one is an index of no elements
    Object array = import("numpy").attr("asarray")(Object::shared(o));
    if (integer_of(array.attr("size")) == 0) array = array.attr("astype")(text("int64"));
    t = tensor_from_numpy(array, true);
  } else
    t = tensor_from_numpy(Object::shared(o), true);
  check_index(t.dtype() == DType::boolean || !is_floating(t.dtype()),
              "an index must be integer or bool, got ", t.dtype());
  return t.dtype() == DType::boolean ? t : cast(t, DType::int64);
}

Slice parse_slice(PyObject* o, int64_t size) {
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(o, &start, &stop, &step) < 0) throw_python_error();
  const Py_ssize_t length = PySlice_AdjustIndices(size, &start, &stop, step);
  return {start, step, length, false};
}

Slice parse_integer(PyObject* o, int dim, int64_t size) {
  const Object number = Object::owned(PyNumber_Index(o));
  const Py_ssize_t i = PyNumber_AsSsize_t(number.get(), PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) throw_python_error();
  check_index(i >= -size && i < size, "index ", i, " is out of range for dimension ", dim, " of size ", size);
  return {i < 0 ? i + size : i, 1, 1, true};
}

// An entry of the key. An array is asked for its elements once: what it would say the second time is its own
// affair.
struct Entry {
  PyObject* object;
  Tensor array;  // undefined for anything else

  explicit Entry(PyObject* o) : object(o) {
    if (o != Py_None && o != Py_Ellipsis && !PySlice_Check(o) && is_array(o)) array = as_index(o);
  }
  int consumes() const {  // dimensions of x
    if (array.defined()) return array.dtype() == DType::boolean ? array.dim() : 1;
    return object == Py_None || object == Py_Ellipsis ? 0 : 1;
  }
};

Key parse(const Tensor& x, PyObject* key) {
  const bool tuple = PyTuple_Check(key);
  const Py_ssize_t n = tuple ? PyTuple_GET_SIZE(key) : 1;
  std::vector<Entry> several;
  std::optional<Entry> one;  // spares the common case the memory of a list
  if (tuple) {
    several.reserve(static_cast<size_t>(n));
    for (Py_ssize_t i = 0; i < n; ++i) several.emplace_back(PyTuple_GET_ITEM(key, i));
  } else {
    one.emplace(key);
  }
  const std::span<const Entry> entries = tuple ? std::span<const Entry>(several) : std::span(&*one, 1);
  int used = 0, ellipses = 0;
  for (const Entry& entry : entries) {
    used += entry.consumes();
    ellipses += entry.object == Py_Ellipsis;
  }
  check_index(ellipses <= 1, "an index can hold only one ellipsis");
  check_index(used <= x.dim(), "too many indices: ", used, " for a tensor of shape ", x.shape());

  Key k;
  k.slices.n = x.dim();
  int dim = 0, out = 0;  // dimension of x, dimension of the sliced tensor
  auto whole = [&](int count) {
    for (; count > 0; --count, ++dim, ++out) {
      k.slices.dim[dim] = {0, 1, x.size(dim), false};
      k.arrays.push_back({});
    }
  };
  for (const Entry& entry : entries) {
    PyObject* const e = entry.object;
    if (e == Py_None) {
      k.new_axes.push_back(out++);
      k.arrays.push_back({});
    } else if (e == Py_Ellipsis) {
      whole(x.dim() - used);
    } else if (PySlice_Check(e)) {
      k.slices.dim[dim] = parse_slice(e, x.size(dim));
      k.arrays.push_back({});
      ++dim, ++out;
    } else if (PyBool_Check(e)) {
      fail(ErrorKind::index, "True and False are not indices; use a bool tensor");
    } else if (entry.array.defined()) {
      const size_t at = k.arrays.size();
      whole(entry.consumes());
      k.arrays.resize(at + 1);  // a bool index stands for all the dimensions it covers
      k.arrays[at] = entry.array;
      k.advanced = true;
    } else {
      check_type(PyIndex_Check(e), "an index must be an integer, a slice, None, ... or an array, got ",
                 Py_TYPE(e)->tp_name);
      k.slices.dim[dim] = parse_integer(e, dim, x.size(dim));
      ++dim;
    }
  }
  whole(x.dim() - dim);
  return k;
}

Tensor view(const Tensor& x, const Key& k) {
  Tensor y = slice(x, k.slices);
  for (const int axis : k.new_axes) y = unsqueeze(y, axis);
  return y;
}

}  // namespace

Tensor get_item(const Tensor& x, PyObject* key) {
  if (PyLong_CheckExact(key)) {
    const Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred()) throw_python_error();
    return select(x, 0, i);
  }
  const Key k = parse(x, key);
  const Tensor y = view(x, k);
  return k.advanced ? index(y, k.arrays) : y;
}

void set_item(const Tensor& x, PyObject* key, PyObject* value) {
  Tensor v;
  if (!to_operand(value, &v))
    v = tensor_from_numpy(import("numpy").attr("asarray")(Object::shared(value)), true);
  const Key k = parse(x, key);
  if (!k.advanced) {
    // Dimensions that None adds are not x's: the value takes their shape, then loses them.
    if (!k.new_axes.empty()) {
      const Dims shape = view(x, k).shape();
      v = expand(fit_value(v, shape), shape);
      for (auto axis = k.new_axes.rbegin(); axis != k.new_axes.rend(); ++axis) v = squeeze(v, *axis);
    }
    slice_put_(x, k.slices, v);
    return;
  }
  bool plain = k.new_axes.empty();
  for (int i = 0; plain && i < k.slices.n; ++i) {
    const Slice& s = k.slices.dim[i];
    plain = !s.drop && s.start == 0 && s.step == 1 && s.length == x.size(i);
  }
  index_put_(x, plain ? View() : View([&](const Tensor& t) { return view(t, k); }), k.arrays, v);
}

}  // namespace fastnn
