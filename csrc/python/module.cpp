// The extension module fastnn._C.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "backend/backend.h"
#include "core/hooks.h"
#include "core/memory.h"
#include "cpu/host/dispatch.h"
#include "cpu/host/thread_pool.h"
#include "python/types.h"

namespace fastnn {
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

void install_host_hooks() {
  host_hooks.unlock = []() -> void* { return PyGILState_Check() ? PyEval_SaveThread() : nullptr; };
  host_hooks.relock = [](void* state) { PyEval_RestoreThread(static_cast<PyThreadState*>(state)); };
  static const unsigned long main_thread =
      PyThread_get_thread_ident();  // modules are imported by the main thread
  host_hooks.main_thread = [] { return PyThread_get_thread_ident() == main_thread; };
  host_hooks.raise_interrupt = [] {
    py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  };
}

py::dict info() {
  py::dict isa;
  int count;
  const Isa* all = isas(&count);
  for (int i = 0; i < count; ++i) isa[all[i].name] = all[i].supported;
  py::dict d;
  d["isa"] = current_isa().name;
  d["isa_supported"] = isa;
  d["cores"] = available_cores();
  d["threads"] = num_threads();
  d["compiler"] = __VERSION__;
  return d;
}

void define_runtime(py::module_& m) {
  m.def("_info", info);
  m.def("get_num_threads", num_threads, "How many threads kernels may use.");
  m.def(
      "set_num_threads",
      [](int n) {
        check_value(n >= 1 && n <= kMostThreads, "set_num_threads: expected 1 to ", kMostThreads, ", got ",
                    n);
        set_num_threads(n);
      },
      py::arg("threads"), "Sets how many threads kernels may use; results do not depend on it.");
  m.def("_memory_stats", [](Device device) {
    const MemoryStats s = memory_stats(device);
    py::dict d;
    d["used"] = s.used, d["cached"] = s.cached, d["peak"] = s.peak, d["system_calls"] = s.system_calls;
    return d;
  });
  m.def("_reset_peak_memory", reset_peak_memory);
  m.def("empty_cache", py::overload_cast<>(empty_cache),
        "Gives memory that is kept for reuse back to the system.");
  m.def("_fail_allocation_after", fail_allocation_after, py::arg("n"));
}

}  // namespace

void set_python_error() {
  try {
    throw;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (py::builtin_exception& e) {
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

}  // namespace fastnn

PYBIND11_MODULE(_C, m) {
  using namespace fastnn;
  m.attr("__version__") = FASTNN_VERSION;
  m.doc() = "fastnn's compiled part: tensors, the tape, ops and kernels.";
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      PyErr_SetString(python_class(e.kind()), e.what());
    }
  });
  install_host_hooks();
  cpu_backend();  // chooses the kernels; a bad FASTNN_ISA fails here, at import
  define_types(m);
  define_tensor_type(m);
  define_exchange(m);
  define_autograd(m);
  define_ops(m);
  define_views(m);
  define_cuda(m);
  define_runtime(m);
}
