#include "python/tensor.h"

#include <structmember.h>

#include <limits>

#include "core/autograd.h"
#include "python/autograd.h"
#include "python/convert.h"
#include "python/exchange.h"
#include "python/module.h"
#include "python/operators.h"
#include "python/types.h"

namespace fastnn {

PyTypeObject* tensor_type = nullptr;

namespace {

PyObject* repr_function = nullptr;  // written in Python; see python/fastnn/_methods.py

PyTensor* as_object(PyObject* o) { return reinterpret_cast<PyTensor*>(o); }

PyObject* new_object(PyTypeObject* type, const Tensor& t) {
  const bool plain = type == tensor_type;  // subclasses have more to be set to 0, and are tracked
  PyObject* self =
      plain ? reinterpret_cast<PyObject*>(PyObject_GC_New(PyTensor, type)) : type->tp_alloc(type, 0);
  if (!self) throw_python_error();
  new (&as_object(self)->tensor) Tensor(t);
  as_object(self)->weakrefs = as_object(self)->lent = nullptr;
  t.impl()->py_object = self;
  if (plain && (t.impl()->grad_fn || t.impl()->watches)) PyObject_GC_Track(self);
  return self;
}

// ---- cycles
// What a tensor alone owns is traversed: its hooks, and the nodes that nothing else leads to, with the
// Functions' contexts and the hooks in them. What C++ shares could be owned by somebody that the collector
// does not see.

int traverse_hooks(const Ref<Watches>& watches, visitproc visit, void* arg) {
  int stop = 0;
  if (watches && watches->unique())
    watches->each_hook([&](const Watches::Hook& hook) {
      const auto* ours = hook.target<PyGradHook>();
      if (ours && !stop) stop = visit(ours->hook.get(), arg);
    });
  return stop;
}

int traverse_nodes(const Ref<Node>& first, visitproc visit, void* arg) {
  struct Visitor {
    visitproc visit;
    void* arg;
  } visitor{visit, arg};
  std::vector<const Node*> waiting;
  auto add = [&](const Ref<Node>& node) {
    if (node && node->unique()) waiting.push_back(node.get());
  };
  add(first);
  while (!waiting.empty()) {
    const Node& node = *waiting.back();
    waiting.pop_back();
    const int stop = node.visit_host_objects(
        [](void* object, void* given) {
          const auto* v = static_cast<Visitor*>(given);
          return v->visit(static_cast<PyObject*>(object), v->arg);
        },
        &visitor);
    if (stop) return stop;
    if (const int stopped = traverse_hooks(node.watches, visit, arg)) return stopped;
    for (size_t i = 0; i < node.inputs(); ++i) add(node.edge(i).node);
  }
  return 0;
}

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_object(self)->lent);
  const TensorImpl* impl = as_object(self)->tensor.impl();
  if (!impl || !impl->unique()) return 0;
  if (const int stop = traverse_hooks(impl->watches, visit, arg)) return stop;
  return traverse_nodes(impl->grad_fn, visit, arg);
}

int tensor_clear(PyObject* self) {
  const Tensor& t = as_object(self)->tensor;
  if (!t.defined() || !t.impl()->unique()) return 0;
  const Ref<Node> node = t.impl()->grad_fn;
  const Ref<Watches> watches = std::move(t.impl()->watches);
  forget_history(t);
  return 0;
}

// A subclass shows another tensor's memory under a new identity; Tensor itself is made by fastnn.tensor().
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject*) {
  if (type == tensor_type || PyTuple_GET_SIZE(args) < 1 || !is_tensor(PyTuple_GET_ITEM(args, 0))) {
    PyErr_SetString(PyExc_TypeError,
                    "Tensor: make tensors with fastnn.tensor(data), fastnn.zeros(shape), ...");
    return nullptr;
  }
  try {
    return new_object(type, detach(unwrap(PyTuple_GET_ITEM(args, 0))));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

void tensor_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  // First of all: a weak reference's callback that meets the tensor must not get this dying object.
  if (TensorImpl* impl = as_object(self)->tensor.impl(); impl && impl->py_object == self)
    impl->py_object = nullptr;
  if (as_object(self)->weakrefs) PyObject_ClearWeakRefs(self);
  Py_XDECREF(as_object(self)->lent);
  as_object(self)->tensor.~Tensor();
  type->tp_free(self);
  Py_DECREF(type);
}

// By identity, as for any object; the low bits of an address are always 0.
Py_hash_t hash_slot(PyObject* self) { return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self) >> 4); }
PyObject* repr_slot(PyObject* self) {
  if (repr_function) return PyObject_CallOneArg(repr_function, self);
  return PyUnicode_FromString("<Tensor>");
}

// ---- attributes

PyObject* get_shape(PyObject* self, void*) { return To<Dims>::of(unwrap(self).shape()); }
PyObject* get_dtype(PyObject* self, void*) { return Py_NewRef(dtype_object(unwrap(self).dtype())); }
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(unwrap(self).dim()); }
PyObject* get_requires_grad(PyObject* self, void*) { return PyBool_FromLong(unwrap(self).requires_grad()); }
PyObject* get_grad(PyObject* self, void*) { return wrap(Tensor(unwrap(self).impl()->grad)); }
PyObject* get_device(PyObject* self, void*) { return To<Device>::of(unwrap(self).device()); }

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  const int on = value ? PyObject_IsTrue(value) : -1;
  if (on < 0) return -1;
  const Tensor& t = unwrap(self);
  try {
    check(t.is_leaf(), ErrorKind::runtime, "requires_grad: only a leaf can be changed; use detach()");
    check(!on || is_floating(t.dtype()), ErrorKind::runtime,
          "requires_grad: only floating tensors can, this is ", t.dtype());
    t.impl()->requires_grad = on;
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}
// x.data = value: the same tensor over other memory, also of another dtype. Whoever saved x for a backward
// pass must notice, so the version goes beyond all that were.
void set_data(const Tensor& x, const Tensor& value) {
  check_value(x.is_leaf() && !x.impl()->is_view, "data: only a leaf that is no view can be given other data");
  check_value(value.shape() == x.shape(), "data: the new data has shape ", value.shape(), ", the tensor ",
              x.shape());
  check(!x.impl()->requires_grad || is_floating(value.dtype()), ErrorKind::runtime,
        "data: a tensor that requires a gradient must be floating, not ", value.dtype());
  const uint32_t before = x.impl()->storage->version.load(), given = value.impl()->storage->version.load();
  TensorImpl* impl = x.impl();
  impl->storage = value.impl()->storage;
  impl->offset = value.impl()->offset;
  impl->strides = value.strides();
  impl->dtype = value.dtype();
  impl->storage->version.store((before > given ? before : given) + 1);
}

int set_grad(PyObject* self, PyObject* value, void*) {
  const Tensor& t = unwrap(self);
  try {
    if (!value || value == Py_None) {
      t.impl()->grad = nullptr;
      return 0;
    }
    check_type(is_tensor(value), "grad: must be a Tensor or None");
    const Tensor& g = unwrap(value);
    check_value(g.shape() == t.shape() && g.dtype() == t.dtype() && g.device() == t.device(), "grad: a ",
                g.dtype(), " tensor of shape ", g.shape(), " on ", g.device(),
                " cannot be the gradient of a ", t.dtype(), " tensor of shape ", t.shape(), " on ",
                t.device());
    t.impl()->grad = g.ref();
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}

Object stride(const Tensor& x, const std::optional<int64_t>& dim) {
  if (!dim) return Object::owned(To<Dims>::of(x.strides()));
  check(x.dim() > 0, ErrorKind::index, "stride: a tensor of 0 dimensions has none");
  return integer(x.strides()[wrap_dim("stride", *dim, x.dim())]);
}

PyGetSetDef attributes[] = {
    {"shape", get_shape, nullptr, "Sizes of the dimensions.", nullptr},
    {"dtype", get_dtype, nullptr, "Type of the elements.", nullptr},
    {"device", get_device, nullptr, "Where the elements are.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of dimensions.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether gradients flow to this tensor.",
     nullptr},
    {"grad", get_grad, set_grad, "Sum of the gradients that backward() has brought, or None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

PyObject* wrap(const Tensor& t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (PyObject* existing = static_cast<PyObject*>(t.impl()->py_object)) return Py_NewRef(existing);
  return new_object(tensor_type, t);
}

void track(const Tensor& t) {
  auto* self = static_cast<PyObject*>(t.impl()->py_object);
  if (self && !PyObject_GC_IsTracked(self)) PyObject_GC_Track(self);
}

void keep_lent(const Tensor& t) {
  const Object self = Object::owned(wrap(t));
  PyObject*& lent = as_object(self.get())->lent;
  if (!lent) lent = Object::owned(PyList_New(0)).release();
  const Py_ssize_t n = PyList_GET_SIZE(lent);
  if (n > 0 && owns(Object::shared(PyList_GET_ITEM(lent, n - 1)), t)) return;
  if (PyList_Append(lent, owner_of(t).get()) < 0) throw_python_error();
}

// An int beyond 64 bits.
static Operand huge_integer(PyObject* o, int sign) {
  double nearest = PyLong_AsDouble(o);
  if (nearest == -1 && PyErr_Occurred()) {  // beyond float64, too
    PyErr_Clear();
    nearest = sign * std::numeric_limits<double>::infinity();
  }
  return Number::huge_integer(nearest);
}

bool to_operand(PyObject* o, Tensor* own, Operand* out) {
  if (is_tensor(o)) {
    *out = unwrap(o);
  } else if (PyFloat_Check(o)) {
    *out = PyFloat_AS_DOUBLE(o);
  } else if (PyBool_Check(o)) {
    *out = o == Py_True;
  } else if (PyLong_Check(o)) {
    int overflow;
    const int64_t value = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow)
      *out = huge_integer(o, overflow);
    else
      *out = value;
  } else if (PyObject_HasAttrString(o, "__array_interface__")) {
    *own = tensor_from_numpy(Object::shared(o), true);
    *out = *own;
  } else {
    return false;
  }
  return true;
}

bool to_operand(PyObject* o, Tensor* out) {
  Operand operand(0);
  if (!to_operand(o, out, &operand)) return false;
  if (operand.is_number())
    *out = scalar(operand.number());
  else
    *out = operand.tensor();
  return true;
}

void define_tensor_type(Definitions& d) {
  std::vector<PyType_Slot> slots = operator_slots();
  slots.insert(
      slots.end(),
      {
          {Py_tp_doc, const_cast<char*>(
                          "Tensor(tensor)\n--\n\nA typed, strided array with a tape for gradients. Made by "
                          "fastnn.tensor() and its kin.")},
          {Py_tp_new, slot(tensor_new)},
          {Py_tp_dealloc, slot(tensor_dealloc)},
          {Py_tp_traverse, slot(tensor_traverse)},
          {Py_tp_clear, slot(tensor_clear)},
          {Py_tp_getset, attributes},
          {Py_tp_members, members},
          {Py_tp_repr, slot(repr_slot)},
          {Py_tp_hash, slot(hash_slot)},
          {0, nullptr},
      });
  PyType_Spec spec = {"fastnn._C.Tensor", sizeof(PyTensor), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!tensor_type) throw_python_error();
  const Object type = Object::shared(reinterpret_cast<PyObject*>(tensor_type));
  d.add("Tensor", type, true);

  d.internal(
      "_set_repr(function)", [](PyObject* f) { repr_function = Py_NewRef(f); },
      "Sets the function that prints tensors.");
  d.internal("_set_data(x, value)", set_data, "What x.data = value does.");
  d.method("item(self)", item, "The value of a tensor of one element, as a Python number.");
  d.method("stride(self, dim=None) -> Any", stride,
           "Distance in elements to the next along each dimension, or along one.");
  d.method(
      "is_contiguous(self)", [](const Tensor& x) { return x.is_contiguous(); },
      "Whether the memory is row-major without gaps.");
  d.method(
      "data_ptr(self)", [](const Tensor& x) { return reinterpret_cast<uintptr_t>(x.data()); },
      "Address of the first element.");
  d.method(
      "storage_offset(self)", [](const Tensor& x) { return x.impl()->offset; },
      "Position of the first element in its storage.");
  d.internal("_numel(x)", [](const Tensor& x) { return x.numel(); }, "How many elements x has.");
}

}  // namespace fastnn
