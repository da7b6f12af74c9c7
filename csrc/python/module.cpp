// The extension module fastnn._C and its classes, Tensor apart, by pybind11. Its header takes as long to
// compile as five of the other units: this one alone includes it.
#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <new>
#include <stdexcept>

#include "backend/backend.h"
#include "core/profile.h"
#include "python/autograd.h"
#include "python/cuda.h"
#include "python/module.h"
#include "python/trace.h"
#include "python/types.h"

namespace py = pybind11;

// Tensors and what else converts in our own way.
namespace pybind11::detail {

template <>
struct type_caster<fastnn::Tensor> {
  PYBIND11_TYPE_CASTER(fastnn::Tensor, const_name("Tensor"));
  bool load(handle source, bool) { return fastnn::to_operand(source.ptr(), &value); }
  static handle cast(const fastnn::Tensor& t, return_value_policy, handle) { return fastnn::wrap(t); }
};
template <>
struct type_caster<fastnn::Object> {
  PYBIND11_TYPE_CASTER(fastnn::Object, const_name("typing.Any"));
  bool load(handle source, bool) {
    value = fastnn::Object::shared(source.ptr());
    return true;
  }
};
template <>
struct type_caster<fastnn::DeviceNumber> {
  PYBIND11_TYPE_CASTER(fastnn::DeviceNumber, const_name("int | device | str"));
  bool load(handle source, bool) {
    const auto number = fastnn::read_device_number(source.ptr());
    if (number) value = *number;
    return number.has_value();
  }
};

}  // namespace pybind11::detail

namespace fastnn {

// ---- values of the classes (instance.h)

template <class T>
T* instance(PyObject* o) {
  static const PyObject* const type = py::type::of<T>().ptr();  // looked up once
  if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != type) return nullptr;
  return &py::cast<T&>(py::handle(o));
}
template <class T>
PyObject* new_instance(T value) {
  return py::cast(std::move(value)).release().ptr();
}
template Device* instance(PyObject*);
template CudaStream* instance(PyObject*);
template Profile* instance(PyObject*);
template PyObject* new_instance(DType);
template PyObject* new_instance(Device);
template PyObject* new_instance(PyHook);
template PyObject* new_instance(PyNode);
template PyObject* new_instance(CudaStream);

// ---- errors

void throw_python_error() { throw py::error_already_set(); }

namespace {

PyObject* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::value:
      return PyExc_ValueError;
    case ErrorKind::type:
      return PyExc_TypeError;
    case ErrorKind::index:
      return PyExc_IndexError;
    case ErrorKind::memory:
      return PyExc_MemoryError;
    case ErrorKind::not_implemented:
      return PyExc_NotImplementedError;
    case ErrorKind::interrupted:
      return PyExc_KeyboardInterrupt;
    default:
      return PyExc_RuntimeError;
  }
}

}  // namespace

void set_python_error() {
  try {
    throw;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const Error& e) {
    PyErr_SetString(python_class(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "out of memory");
  } catch (const std::invalid_argument& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

namespace {

// ---- classes

// pybind11's __new__ makes an object without a value, which is for __init__ to bring: one that never sees
// __init__ crashes where it is used. CPython refuses C.__new__(C) where C has a slot that its base has not,
// so only a call of the class comes here, and that goes on to __init__.
PyObject* make_through_call(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  return type->tp_base->tp_new(type, args, keywords);
}

// The base of all these classes itself: pybind11 ends the process where somebody calls it, as pickling by the
// first protocols does.
newfunc new_of_derived;
void refuse_bare_base(const py::module_& m) {
  PyTypeObject* const base = reinterpret_cast<PyTypeObject*>(m.attr("device").ptr())->tp_base;
  new_of_derived = base->tp_new;
  base->tp_new = [](PyTypeObject* type, PyObject* args, PyObject* keywords) -> PyObject* {
    if (type->tp_base != &PyBaseObject_Type) return new_of_derived(type, args, keywords);
    return PyErr_Format(PyExc_TypeError, "%s cannot be made", type->tp_name);
  };
}

// What is part of this process alone says so, in every protocol.
void refuse_pickle(py::handle type) {
  if (type.attr("__dict__").contains("__reduce__")) return;
  const auto refuse = [](const py::object& self) -> py::object {
    throw py::type_error(std::string("cannot pickle a ") + Py_TYPE(self.ptr())->tp_name);
  };
  py::setattr(type, "__reduce__", py::cpp_function(refuse, py::name("__reduce__"), py::is_method(type)));
}

// Nor is there another way to such an object: an assignment of __class__ between two of these would pass
// CPython's test, for their layouts are the same. It refuses that for immutable types.
void make_immutable(const py::module_& m) {
  for (const auto& [name, value] : m.attr("__dict__").cast<py::dict>())
    if (PyType_Check(value.ptr()) &&
        reinterpret_cast<PyTypeObject*>(value.ptr())->tp_new == make_through_call) {
      refuse_pickle(value);
      reinterpret_cast<PyTypeObject*>(value.ptr())->tp_flags |= Py_TPFLAGS_IMMUTABLETYPE;
    }
  refuse_bare_base(m);
}

template <class T>
py::class_<T> new_class(const py::module_& m, const char* name, const char* doc) {
  py::class_<T> c(m, name, doc, py::is_final());
  reinterpret_cast<PyTypeObject*>(c.ptr())->tp_new = make_through_call;
  return c;
}

void define_types(const py::module_& m) {
  new_class<DType>(m, "dtype", "The type of a tensor's elements.")
      .def_property_readonly("name", name_of)
      .def_property_readonly("itemsize", size_of, "Bytes per element.")
      .def_property_readonly("is_floating_point", is_floating)
      .def("__repr__", [](DType t) { return std::string("fastnn.") + name_of(t); })
      .def("__reduce__", name_of);
  new_class<Device>(m, "device", "Where a tensor lives: device(\"cpu\"), device(\"cuda:0\").")
      .def(py::init(&parse_device), py::arg("name"))
      .def_property_readonly("type", [](Device d) { return d.type == DeviceType::cpu ? "cpu" : "cuda"; })
      .def_property_readonly("index", [](Device d) { return int{d.index}; })
      .def(
          "__eq__",  // its name, too
          [](Device d, const py::object& other) { return read_device(other.ptr()) == d; }, py::arg("other"))
      .def("__hash__", [](Device d) { return static_cast<int>(d.type) * 64 + d.index; })
      .def("__reduce__",
           [](Device d) { return py::make_tuple(py::type::of<Device>(), py::make_tuple(print_device(d))); })
      .def("__str__", print_device)
      .def("__repr__", [](Device d) { return "device('" + print_device(d) + "')"; });
}

void define_tape(const py::module_& m) {
  new_class<PyHook>(m, "HookHandle", "A hook that was registered; remove() takes it away.")
      .def("remove", &PyHook::remove, "Takes the hook away.");

  using NextFunctions = py::typing::Tuple<py::typing::Union<PyNode, Tensor, py::none>, py::ellipsis>;
  new_class<PyNode>(m, "Node", "A recorded operation: the tape as seen from Python.")
      .def_property_readonly(
          "name", [](const PyNode& n) { return n.node->title(); }, "What the operation is called.")
      .def_property_readonly(
          "next_functions",
          [](const PyNode& n) { return py::reinterpret_steal<NextFunctions>(n.next_functions().release()); },
          "For each input the Node that made it, the leaf Tensor itself, or None.")
      .def(
          "__eq__",
          [](const PyNode& n, const py::object& other) {
            const PyNode* o = instance<PyNode>(other.ptr());
            return o && o->node.get() == n.node.get();
          },
          py::arg("other"))
      .def("__hash__", [](const PyNode& n) { return reinterpret_cast<intptr_t>(n.node.get()) >> 4; })
      .def("__repr__", [](const PyNode& n) { return "<" + std::string(n.node->title()) + ">"; });

  new_class<PySaved>(m, "_Saved", "A tensor that is kept for a backward pass.")
      .def(py::init<const Tensor&, int64_t>(), py::arg("tensor"), py::arg("output_nr"))
      .def("get", &PySaved::get, py::arg("during"), "The tensor, in the pass that asks for it.");

  new_class<Profile>(m, "_Profile", "Counts and times of a thread's ops.")
      .def(py::init())
      .def("start", &Profile::start)
      .def("stop", &Profile::stop)
      .def_property_readonly("seconds",
                             [](const Profile& p) { return static_cast<double>(p.nanoseconds()) * 1e-9; });
  new_class<Trace>(m, "_Trace", "All that the ops of a thread announce.")
      .def(py::init())
      .def("start", &Trace::start)
      .def("stop", &Trace::stop)
      .def("events", [](const Trace& t) { return py::reinterpret_steal<py::list>(events_of(t).release()); })
      .def_property_readonly("depth", &Trace::depth, "How many ops are under way.");
}

void define_queues(const py::module_& m) {
  new_class<CudaStream>(m, "CudaStream", "A queue of work on a CUDA device.")
      .def(py::init(&CudaStream::next), py::arg("device") = 0)
      .def_readonly("device", &CudaStream::device, "The number of its device.")
      .def_readonly("number", &CudaStream::number, "Which of the device's streams.")
      .def_property_readonly("handle", &CudaStream::handle, "The cudaStream_t, as a number.")
      .def("synchronize", &CudaStream::synchronize, "Waits until its work is done.")
      .def("query", &CudaStream::query, "Whether its work is done.")
      .def("wait_stream", &CudaStream::wait_stream, py::arg("other"),
           "What is queued here from now on waits for what is queued there already.")
      .def(
          "__eq__",
          [](const CudaStream& s, const py::object& other) {
            const CudaStream* o = instance<CudaStream>(other.ptr());
            return o && *o == s;
          },
          py::arg("other"))
      .def("__hash__", [](const CudaStream& s) { return s.device * kMaxStreams + s.number; })
      .def("__repr__", [](const CudaStream& s) {
        return "<fastnn.cuda.Stream " + std::to_string(s.number) + " on cuda:" + std::to_string(s.device) +
               ">";
      });
  new_class<CudaEvent>(m, "CudaEvent", "A point in the work of a CUDA stream.")
      .def(py::init(&CudaEvent::make), py::arg("enable_timing") = false, py::arg("device") = 0)
      .def("record", &CudaEvent::record, py::arg("stream") = py::none(),
           "Marks what is queued on the stream so far.")
      .def("wait", &CudaEvent::wait, py::arg("stream") = py::none(),
           "What is queued on the stream from now on waits for the event.")
      .def("synchronize", &CudaEvent::synchronize, "Waits until the event has come.")
      .def("query", &CudaEvent::query, "Whether the event has come.")
      .def("elapsed_time", &CudaEvent::elapsed_time, py::arg("end"),
           "Milliseconds from this event to another.");
}

}  // namespace
}  // namespace fastnn

PYBIND11_MODULE(main_interpreter, m) {
  using namespace fastnn;
  m.doc() = "fastnn's compiled part: tensors, the tape, ops and kernels.";
  m.attr("__version__") = FASTNN_VERSION;
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      std::rethrow_exception(p);
    } catch (const py::builtin_exception&) {
      throw;
    } catch (...) {
      set_python_error();
    }
  });
  define_types(m);
  define_tape(m);
  define_queues(m);
  make_immutable(m);

  Definitions d(m.ptr());
  define_runtime(d);
  for (const char* name : {"dtype", "device"}) d.add(name, Object::shared(m.attr(name).ptr()), true);
  define_types(d);
  define_tensor_type(d);
  define_exchange(d);
  define_autograd(d);
  define_python_functions(d);
  define_ops(d);
  define_cuda(d);
  define_profile(d);
  define_trace(d);
  d.finish();
}

// The tape, the types and the lock are one interpreter's: pybind11 would wait for that lock for ever.
extern "C" PYBIND11_EXPORT PyObject* PyInit__C() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit_main_interpreter();
  PyErr_SetString(PyExc_ImportError, "fastnn cannot be imported in a subinterpreter");
  return nullptr;
}
