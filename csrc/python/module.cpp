// The extension module fastnn._C and its classes, Tensor apart, by pybind11. Its header takes as long to
// compile as five of the other units: this one alone includes it.
#include <pybind11/pybind11.h>

#include <memory>
#include <new>
#include <stdexcept>

#include "backend/backend.h"
#include "python/autograd.h"
#include "python/cuda.h"
#include "python/module.h"
#include "python/profile.h"
#include "python/trace.h"
#include "python/types.h"

namespace py = pybind11;

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
void refuse_pickle(PyObject* type) {
  if (PyDict_GetItemString(reinterpret_cast<PyTypeObject*>(type)->tp_dict, "__reduce__")) return;
  define_in(type,
            definition(
                "__reduce__(self) -> Any",
                [](PyObject* self) { fail(ErrorKind::type, "cannot pickle a ", Py_TYPE(self)->tp_name); },
                "Refuses."));
}

// Nor is there another way to such an object: an assignment of __class__ between two of these would pass
// CPython's test, for their layouts are the same. It refuses that for immutable types.
void make_immutable(const py::module_& m) {
  for (const auto& [name, value] : m.attr("__dict__").cast<py::dict>())
    if (PyType_Check(value.ptr()) &&
        reinterpret_cast<PyTypeObject*>(value.ptr())->tp_new == make_through_call) {
      refuse_pickle(value.ptr());
      reinterpret_cast<PyTypeObject*>(value.ptr())->tp_flags |= Py_TPFLAGS_IMMUTABLETYPE;
    }
  refuse_bare_base(m);
}

// Makes the class; its methods are functions of ours.
template <class T>
class Class {
 public:
  // The arguments are those of a call of the class: none where that is refused.
  Class(const py::module_& m, const char* name, const char* doc, const char* arguments = "()")
      : class_(m, name, doc, py::is_final()) {
    reinterpret_cast<PyTypeObject*>(class_.ptr())->tp_new = make_through_call;
    Object::shared(class_.ptr()).set("__signature__", inspected_signature(arguments));
    method(
        "__init__(self) -> None",
        [](PyObject* self) { fail(ErrorKind::type, Py_TYPE(self)->tp_name, ": No constructor defined!"); },
        "Refuses: these come from elsewhere.");
  }
  template <class F>
  Class& method(const char* signature, F f, const char* doc) {
    define_in(class_.ptr(), definition(signature, f, doc));
    return *this;
  }
  template <class F>
  Class& property(const char* signature, F f, const char* doc) {
    define_in(class_.ptr(), definition(signature, f, doc), true);
    return *this;
  }
  // pybind11 makes the value by `make`, behind a method that has a signature and converts the arguments.
  template <class... A, class F>
  Class& init(const char* signature, F make, const char* doc) {
    class_.def(py::init(make));
    PyObject* const inner = py::object(class_.attr("__init__")).release().ptr();  // kept as long as the class
    define_in(class_.ptr(), definition(
                                signature,
                                +[](const PyObject& made_by, const Object& self, A... arguments) {
                                  Object::shared(const_cast<PyObject*>(&made_by))(
                                      self, Object::owned(To<std::remove_cvref_t<A>>::of(arguments))...);
                                },
                                doc, *inner));
    return *this;
  }

 private:
  py::class_<T> class_;
};

void define_types(const py::module_& m) {
  Class<DType>(m, "dtype", "The type of a tensor's elements: fastnn.float32, fastnn.int64, ...")
      .property("name(self)", name_of, "The name, as NumPy writes it.")
      .property("itemsize(self) -> int", size_of, "Bytes per element.")
      .property("is_floating_point(self)", is_floating, "Whether the elements are floating numbers.")
      .method(
          "__repr__(self)", [](DType t) { return std::string("fastnn.") + name_of(t); },
          "The name in fastnn.")
      .method("__reduce__(self)", name_of, "Pickled by its name.");
  Class<Device>(m, "device", "Where a tensor lives: device(\"cpu\"), device(\"cuda:0\").", "(name: str)")
      .init<std::string>("__init__(self, name) -> None", parse_device, "The device of that name.")
      .property(
          "type(self)", [](Device d) { return d.type == DeviceType::cpu ? "cpu" : "cuda"; },
          "\"cpu\" or \"cuda\".")
      .property(
          "index(self)", [](Device d) { return int{d.index}; }, "Which of its type, from 0.")
      .method(
          "__eq__(self, other: object)", [](Device d, PyObject* other) { return read_device(other) == d; },
          "Whether other is this device, or its name.")
      .method(
          "__hash__(self)", [](Device d) { return static_cast<int>(d.type) * 64 + d.index; },
          "By type and index.")
      .method(
          "__reduce__(self)",
          [](Device d) {
            return tuple_of(Object::shared(py::type::of<Device>().ptr()), tuple_of(text(print_device(d))));
          },
          "Pickled by its name.")
      .method("__str__(self)", print_device, "The name.")
      .method("__repr__(self)", [](Device d) { return "device('" + print_device(d) + "')"; }, "As a call.");
}

void define_tape(const py::module_& m) {
  Class<PyHook>(m, "HookHandle", "A hook that was registered; remove() takes it away.")
      .method("remove(self)", [](PyHook& h) { h.remove(); }, "Takes the hook away.");

  Class<PyNode>(m, "Node", "A recorded operation: the tape as seen from Python.")
      .property(
          "name(self)", [](const PyNode& n) { return std::string(n.node->title()); },
          "What the operation is called.")
      .property(
          "next_functions(self) -> tuple[Node | Tensor | None, ...]",
          [](const PyNode& n) { return n.next_functions(); },
          "For each input the Node that made it, the leaf Tensor itself, or None.")
      .method(
          "__eq__(self, other: object)",
          [](const PyNode& n, PyObject* other) {
            const PyNode* o = instance<PyNode>(other);
            return o && o->node.get() == n.node.get();
          },
          "Whether other is the same operation.")
      .method(
          "__hash__(self)", [](const PyNode& n) { return reinterpret_cast<intptr_t>(n.node.get()) >> 4; },
          "By the operation.")
      .method(
          "__repr__(self)", [](const PyNode& n) { return "<" + std::string(n.node->title()) + ">"; },
          "The name, in brackets.");

  Class<PySaved>(m, "_Saved", "A tensor that is kept for a backward pass.",
                 "(tensor: Tensor, output_nr: int)")
      .init<const Tensor&, int64_t>(
          "__init__(self, tensor, output_nr) -> None",
          [](const py::object& tensor, int64_t output_nr) {
            return PySaved(unwrap(tensor.ptr()), output_nr);
          },
          "Keeps it with its version; output_nr: which output of the operation it is, -1 for none.")
      .method(
          "get(self, during)", [](const PySaved& s, const Object& during) { return s.get(during); },
          "The tensor, in the pass that asks for it.");

  Class<Profile>(m, "_Profile", "Counts and times of a thread's ops.")
      .init<>(
          "__init__(self) -> None", [] { return std::make_unique<Profile>(); }, "An empty one.")
      .method(
          "start(self)", [](Profile& p) { p.start(); }, "Listens to this thread.")
      .method(
          "stop(self)", [](Profile& p) { p.stop(); }, "Listens no more.")
      .property(
          "seconds(self)", [](const Profile& p) { return static_cast<double>(p.nanoseconds()) * 1e-9; },
          "From start to stop, or until now.");
  Class<Trace>(m, "_Trace", "All that the ops of a thread announce.")
      .init<>(
          "__init__(self) -> None", [] { return std::make_unique<Trace>(); }, "An empty one.")
      .method(
          "start(self)", [](Trace& t) { t.start(); }, "Listens to this thread.")
      .method(
          "stop(self)", [](Trace& t) { t.stop(); }, "Listens no more.")
      .method(
          "events(self) -> list[Any]", [](const Trace& t) { return events_of(t); }, "What was heard.")
      .property("depth(self)", [](const Trace& t) { return t.depth(); }, "How many ops are under way.");
}

void define_queues(const py::module_& m) {
  Class<CudaStream>(m, "CudaStream", "A queue of work on a CUDA device.", "(device: int | device | str=0)")
      .init<DeviceNumber>(
          "__init__(self, device=0) -> None", [](int device) { return CudaStream::next({device}); },
          "A stream of the device; RuntimeError where CUDA cannot be used.")
      .property(
          "device(self)", [](const CudaStream& s) { return s.device; }, "The number of its device.")
      .property(
          "number(self)", [](const CudaStream& s) { return s.number; }, "Which of the device's streams.")
      .property(
          "handle(self)", [](const CudaStream& s) { return s.handle(); }, "The cudaStream_t, as a number.")
      .method(
          "synchronize(self)", [](const CudaStream& s) { s.synchronize(); },
          "Waits until its work is done. RuntimeError if some of it failed.")
      .method(
          "query(self)", [](const CudaStream& s) { return s.query(); }, "Whether its work is done.")
      .method(
          "wait_stream(self, other)",
          [](const CudaStream& s, const CudaStream& other) { s.wait_stream(other); },
          "What is queued here from now on waits for what is queued there already. ValueError if other is "
          "on another device.")
      .method(
          "__eq__(self, other: object)",
          [](const CudaStream& s, PyObject* other) {
            const CudaStream* o = instance<CudaStream>(other);
            return o && *o == s;
          },
          "Whether other is the same queue.")
      .method(
          "__hash__(self)", [](const CudaStream& s) { return s.device * kMaxStreams + s.number; },
          "By device and number.")
      .method(
          "__repr__(self)",
          [](const CudaStream& s) {
            return "<fastnn.cuda.Stream " + std::to_string(s.number) +
                   " on cuda:" + std::to_string(s.device) + ">";
          },
          "Number and device.");
  Class<CudaEvent>(m, "CudaEvent", "A point in the work of a CUDA stream.",
                   "(enable_timing: bool=False, device: int | device | str=0)")
      .init<bool, DeviceNumber>(
          "__init__(self, enable_timing=False, device=0) -> None",
          [](bool timed, int device) { return CudaEvent::make(timed, {device}); },
          "An event of the device; RuntimeError where CUDA cannot be used.")
      .method(
          "record(self, stream=None)", [](CudaEvent& e, const CudaStream* s) { e.record(s); },
          "Marks what is queued so far on the stream, by default the one that work is queued on now.")
      .method(
          "wait(self, stream=None)", [](const CudaEvent& e, const CudaStream* s) { e.wait(s); },
          "What is queued on the stream from now on waits for the event.")
      .method(
          "synchronize(self)", [](const CudaEvent& e) { e.synchronize(); },
          "Waits until the event has come. RuntimeError if work before it failed.")
      .method(
          "query(self)", [](const CudaEvent& e) { return e.query(); }, "Whether the event has come.")
      .method(
          "elapsed_time(self, end)",
          [](const CudaEvent& e, const CudaEvent& end) { return e.elapsed_time(end); },
          "Milliseconds from this event to another. RuntimeError unless both were made with "
          "enable_timing=True and recorded.");
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
