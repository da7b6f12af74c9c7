// What the library asks of Python, and what Python may ask of the library: threads, memory, versions.
#include "python/module.h"

#include "backend/backend.h"
#include "core/hooks.h"
#include "core/memory.h"
#include "cpu/host/dispatch.h"
#include "cpu/host/thread_pool.h"
#include "python/convert.h"

namespace fastnn {
namespace {

void install_host_hooks() {
  host_hooks.unlock = []() -> void* { return PyGILState_Check() ? PyEval_SaveThread() : nullptr; };
  host_hooks.relock = [](void* state) {
    may_stop([&] { return PyEval_RestoreThread(static_cast<PyThreadState*>(state)), true; });
  };
  // Modules are imported by the main thread.
  static const unsigned long main_thread = PyThread_get_thread_ident();
  host_hooks.main_thread = [] { return PyThread_get_thread_ident() == main_thread; };
  host_hooks.raise_interrupt = [] {
    const Locked lock;
    if (PyErr_CheckSignals() != 0) throw_python_error();
  };
}

Object info() {
  Dict supported;
  int count;
  const Isa* all = isas(&count);
  for (int i = 0; i < count; ++i) supported.set(all[i].name, truth(all[i].supported));
  Dict d;
  d.set("isa", text(current_isa().name));
  d.set("isa_supported", supported.object());
  d.set("cores", integer(available_cores()));
  d.set("threads", integer(num_threads()));
  d.set("compiler", text(__VERSION__));
  return d.object();
}

Object statistics(Device device) {
  const MemoryStats s = memory_stats(device);
  Dict d;
  d.set("used", integer(s.used));
  d.set("cached", integer(s.cached));
  d.set("peak", integer(s.peak));
  d.set("system_calls", integer(s.system_calls));
  return d.object();
}

}  // namespace

void define_runtime(Definitions& d) {
  install_host_hooks();
  cpu_backend();  // chooses the kernels; a bad FASTNN_ISA fails here, at import
  d.internal("_info() -> dict[str, Any]", info);
  d.function("get_num_threads()", num_threads, "How many threads kernels may use.");
  d.function(
      "set_num_threads(threads)",
      [](int n) {
        check_value(n >= 1 && n <= kMostThreads, "set_num_threads: expected 1 to ", kMostThreads, ", got ",
                    n);
        set_num_threads(n);
      },
      "Sets how many threads kernels may use; results do not depend on it.");
  d.internal("_memory_stats(device) -> dict[str, int]", statistics);
  d.internal("_reset_peak_memory(device)", reset_peak_memory);
  d.function(
      "empty_cache()", [] { empty_cache(); }, "Gives memory that is kept for reuse back to the system.");
  d.internal("_fail_allocation_after(n)", fail_allocation_after);
}

}  // namespace fastnn
