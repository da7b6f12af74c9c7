// A backend is one kind of device: its memory, streams, contexts and kernels behind a table of functions. The
// CPU's is linked in; CUDA's comes from a library of its own, opened at the first question about it.
#pragma once
#include "backend/bad_index.h"
#include "backend/kernel.h"

namespace fastnn {

constexpr int kMaxDevices = 8;
constexpr int kHost = -1;        // in place of a device's index: the host's memory
constexpr int kMaxStreams = 32;  // per device; stream 0 is the default one

struct DeviceProperties {
  char name[256];
  int capability;  // 10 * major + minor
  int multiprocessors;
  size_t memory, free_memory;  // bytes
};

// What only a device with streams has. A stream is known by its number; work queued on one runs in order.
struct Streams {
  void (*select)(int device, int stream);  // the calling thread queues its work there from now on
  void* (*handle)(int device, int stream);
  // What is queued on `then` from now on waits for what has been queued on `first`.
  Status (*order)(int device, void* first, void* then);
  Status (*synchronize)(int device, int stream);
  bool (*idle)(int device, int stream);

  void* (*create_event)(int device, bool timed);  // null when it cannot be had
  void (*destroy_event)(void* event);
  Status (*record)(void* event, int device, int stream);
  Status (*wait)(void* event, int device, int stream);  // the stream waits
  Status (*synchronize_event)(void* event);             // the calling thread waits
  bool (*event_done)(void* event);
  Status (*elapsed)(void* start, void* end, float* milliseconds);

  // The device that memory is on; kHost if on none, `asked` for memory that wanders between devices.
  int (*owner)(const void* memory, int asked);
  void* (*allocate_pinned)(size_t bytes);  // host memory that the device reads and writes by itself
  void (*release_pinned)(void* memory);    // which is kept for the next that asks
  void (*release_cached_pinned)();         // gives it back to the system
  Status (*properties)(int device, DeviceProperties* out);
};

// Whether the CPU's memory comes straight from malloc, in exact sizes: for builds with sanitizers, which
// check what lies between malloc's blocks and what was freed.
#ifdef FASTNN_SANITIZED
constexpr bool kExactMemory = true;
#else
constexpr bool kExactMemory = false;
#endif

struct Backend {
  // A hash of the headers in csrc/backend, FASTNN_ABI: a library whose own differs is another build's and its
  // structs may be too.
  uint64_t abi;
  const char* name;
  const Kernels* kernels;
  // Memory is asked for and given back one tensor at a time, in its exact size, instead of being kept for
  // reuse: for a backend that checks bounds.
  bool exact_memory;

  int (*device_count)();
  void* (*allocate)(size_t bytes, int device);  // 64-byte aligned, null when there is none left
  void (*release)(void* memory, size_t bytes, int device);
  // From one device of this kind, or the host (kHost), to another, behind the work that the calling thread
  // has queued. Returns when it is done or, unless `wait`, once it is queued.
  Status (*copy)(void* dst, int to, const void* src, int from, size_t bytes, bool wait);
  Status (*synchronize)(int device);
  Context& (*context)(int device);              // the calling thread's
  bool (*reserve)(Context& ctx, size_t bytes);  // grows the context's scratch; false when memory is short
  const char* (*error)();                       // what failed last in the calling thread
  // Takes the note of an index out of range: of the calling thread's kernels or, on a device that runs
  // behind, of all that has been waited for. False if there is none.
  bool (*take_bad_index)(int device, BadIndex* note);
  // For a backend that checks bounds, else null: until the next call, kernels of this context touch nothing
  // but these operands and their scratch; none: anything.
  void (*expect)(Context& ctx, const Touch* operands, int count);
  const Streams* streams;  // null: none
};

const Backend& cpu_backend();
const Backend* find_backend(DeviceType type);  // null when it is not available

}  // namespace fastnn
