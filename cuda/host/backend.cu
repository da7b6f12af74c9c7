// NVIDIA devices as a backend: memory, streams, copies, events, through the CUDA runtime, which is linked in
// statically and opens the driver only when asked. So this library loads on any machine and says what is
// missing.
#include <unistd.h>

#include <new>
#include <string>
#include <utility>

#include "cuda/common/forced_plan.h"
#include "cuda/host/runtime.h"

namespace fastnn::cuda {

const Kernels& kernel_table();

// ---- errors: the runtime's words for what failed last in this thread
namespace {
thread_local std::string last_error = "no reason was given";
}

Status checked(cudaError_t result) {
  if (result == cudaSuccess) return Status::ok;
  last_error = std::string(cudaGetErrorName(result)) + ": " + cudaGetErrorString(result);
  if (result == cudaErrorNoKernelImageForDevice)
    last_error += " (this build has no code for the device: build with FASTNN_CUDA_ARCHS=native)";
  cudaGetLastError();  // forgotten, where it can be: an error that the device does not survive comes again
  return Status::device_error;
}
bool answered(cudaError_t result) {
  if (result != cudaSuccess) cudaGetLastError();
  return result == cudaSuccess;
}
namespace {

constexpr int kLeastCapability = 75;

const char* error() {
  checked(cudaGetLastError());  // a launch's, which only says that there is one
  return last_error.c_str();
}

// ---- devices
int device_count() { return devices; }

cudaStream_t stream_of(int device, int number) {
  if (number == 0) return cudaStreamLegacy;
  Device& d = device_list[device];
  const std::lock_guard lock(d.mutex);
  if (!d.streams[number]) {
    const OnDevice here(device);
    checked(cudaStreamCreateWithFlags(&d.streams[number], cudaStreamNonBlocking));
  }
  return d.streams[number];
}

// ---- contexts: one per thread and device
struct Scratch {
  char* memory = nullptr;
  size_t bytes = 0;
  unsigned* tickets = nullptr;
};
// Of a device: memory of the host that kernels write (backend/bad_index.h).
BadIndex* index_notes[kMaxDevices];

bool take_bad_index(int device, BadIndex* note) {
  BadIndex* const left = index_notes[device];
  if (!left || __atomic_load_n(&left->taken, __ATOMIC_ACQUIRE) != 2) return false;
  *note = *left;
  __atomic_store_n(&left->taken, 0u, __ATOMIC_RELEASE);
  return true;
}

struct ThreadContext : Context {
  bool ready = false;
  Scratch resting[kMaxStreams];  // of the streams that are not selected: it serves their work

  ~ThreadContext() {
    if (!ready || gettid() == getpid())
      return;  // the main thread's: the process ends, and the driver perhaps has
    const OnDevice here(device);
    answered(cudaFree(scratch)), answered(cudaFree(tickets));
    for (const Scratch& s : resting) answered(cudaFree(s.memory)), answered(cudaFree(s.tickets));
  }
};
const std::atomic<bool> never{false};

// Zeros, in the order of the stream that is selected.
unsigned* make_tickets(const Context& ctx) {
  void* memory = nullptr;
  if (checked(cudaMalloc(&memory, kTickets * sizeof(unsigned))) != Status::ok) return nullptr;
  checked(cudaMemsetAsync(memory, 0, kTickets * sizeof(unsigned), static_cast<cudaStream_t>(ctx.stream)));
  return static_cast<unsigned*>(memory);
}
// Made at the first context of a device.
BadIndex* index_note(int device) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  void* memory = nullptr;
  if (!index_notes[device] &&
      checked(cudaHostAlloc(&memory, sizeof(BadIndex), cudaHostAllocPortable | cudaHostAllocMapped)) ==
          Status::ok)
    index_notes[device] = new (memory) BadIndex{};
  return index_notes[device];
}

ThreadContext& thread_context(int device) {
  thread_local ThreadContext contexts[kMaxDevices];
  ThreadContext& ctx = contexts[device];
  if (!ctx.ready) {
    ctx.ready = true;
    device_list[device].used.store(true, std::memory_order_relaxed);
    ctx.stream = cudaStreamLegacy;
    ctx.device = device;
    ctx.capability = device_list[device].capability;
    ctx.multiprocessors = device_list[device].multiprocessors;
    ctx.cancel = &never;
    ctx.bad_index = index_note(device);
  }
  if (devices > 1) {
    int current = -1;  // where kernels are launched; another library may have changed it
    cudaGetDevice(&current);
    if (current != device) cudaSetDevice(device);
  }
  if (!ctx.tickets) ctx.tickets = make_tickets(ctx);
  return ctx;
}
Context& context(int device) { return thread_context(device); }

// ---- memory. Blocks are kept for reuse above this, in the order of their streams, so the device is asked
// rarely and the plain calls do: cudaFree waits for work that uses the block.
void* allocate(size_t bytes, int device) {
  context(device);
  void* p = nullptr;
  return checked(cudaMalloc(&p, bytes)) == Status::ok ? p : nullptr;
}
void release(void* p, size_t, int device) {
  context(device);
  answered(cudaFree(p));
}

bool reserve(Context& ctx, size_t bytes) {
  if (ctx.scratch) release(ctx.scratch, ctx.scratch_bytes, ctx.device);
  const size_t grown = bytes + bytes / 4;
  ctx.scratch = static_cast<char*>(allocate(grown, ctx.device));
  ctx.scratch_bytes = ctx.scratch ? grown : 0;
  return ctx.scratch != nullptr;
}

void select(int device, int number) {
  ThreadContext& ctx = thread_context(device);
  if (ctx.stream_number == number) return;
  ctx.resting[ctx.stream_number] = {ctx.scratch, ctx.scratch_bytes, ctx.tickets};
  const Scratch mine = std::exchange(ctx.resting[number], {});
  ctx.scratch = mine.memory, ctx.scratch_bytes = mine.bytes, ctx.tickets = mine.tickets;
  ctx.stream = stream_of(device, number);
  ctx.stream_number = number;
  if (!ctx.tickets) ctx.tickets = make_tickets(ctx);
}

// ---- order between streams
// The legacy stream has one handle on all devices, which means the current one's. An event is recorded where
// it was made; streams of any device wait for it.
struct StreamOf {
  int device;
  void* handle;
  bool operator==(const StreamOf&) const = default;
};
Status order(StreamOf first, StreamOf then) {
  if (first == then) return Status::ok;
  const OnDevice here(first.device);
  cudaEvent_t event = nullptr;
  Status status = checked(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  if (status != Status::ok) return status;
  status = checked(cudaEventRecord(event, static_cast<cudaStream_t>(first.handle)));
  if (status == Status::ok) {
    const OnDevice there(then.device);
    status = checked(cudaStreamWaitEvent(static_cast<cudaStream_t>(then.handle), event, 0));
  }
  answered(cudaEventDestroy(event));  // takes effect once the wait is over
  return status;
}
Status order_on(int device, void* first, void* then) { return order({device, first}, {device, then}); }

Status copy(void* dst, int to, const void* src, int from, size_t bytes, bool wait) {
  const int device = to == kHost ? from : to;
  Context& ctx = context(device);
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (to != kHost && from != kHost && to != from) {
    // Behind what is queued where the source is, and nothing there goes on before it has been read.
    const StreamOf here{to, stream}, there{from, context(from).stream};
    context(to);
    Status status = order(there, here);
    if (status == Status::ok) status = checked(cudaMemcpyPeerAsync(dst, to, src, from, bytes, stream));
    if (status == Status::ok) status = order(here, there);
    return status;
  }
  const Status status = checked(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, stream));
  if (status != Status::ok) return status;
  if (to == kHost) return checked(cudaStreamSynchronize(stream));
  if (from != kHost || !wait) return Status::ok;
  // From pageable memory the driver has made its own copy by now, unless the device reads such memory by
  // itself; pinned memory is still being read.
  cudaPointerAttributes attributes{};
  const bool read_later = device_list[device].reads_pageable ||
                          !answered(cudaPointerGetAttributes(&attributes, src)) ||
                          attributes.type != cudaMemoryTypeUnregistered;
  return read_later ? checked(cudaStreamSynchronize(stream)) : Status::ok;
}

Status synchronize(int device) {
  const OnDevice here(device);
  return checked(cudaDeviceSynchronize());
}

// ---- events
void* create_event(int device, bool timed) {
  const OnDevice here(device);
  cudaEvent_t event = nullptr;
  return checked(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming)) ==
                 Status::ok
             ? event
             : nullptr;
}
void destroy_event(void* event) { answered(cudaEventDestroy(static_cast<cudaEvent_t>(event))); }
Status record(void* event, int device, int stream) {
  const OnDevice here(device);
  return checked(cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(device, stream)));
}
Status wait(void* event, int device, int stream) {
  const OnDevice here(device);
  return checked(cudaStreamWaitEvent(stream_of(device, stream), static_cast<cudaEvent_t>(event), 0));
}
Status synchronize_event(void* event) {
  return checked(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
}
bool event_done(void* event) { return answered(cudaEventQuery(static_cast<cudaEvent_t>(event))); }
Status elapsed(void* start, void* end, float* milliseconds) {
  return checked(
      cudaEventElapsedTime(milliseconds, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(end)));
}

int owner(const void* memory, int asked) {
  cudaPointerAttributes a{};
  if (!answered(cudaPointerGetAttributes(&a, memory))) return kHost;
  if (a.type == cudaMemoryTypeManaged) return asked;
  return a.type == cudaMemoryTypeDevice ? a.device : kHost;
}

Status properties(int device, DeviceProperties* out) {
  const OnDevice here(device);
  cudaDeviceProp p{};
  Status status = checked(cudaGetDeviceProperties(&p, device));
  if (status == Status::ok) status = checked(cudaMemGetInfo(&out->free_memory, &out->memory));
  if (status != Status::ok) return status;
  static_assert(sizeof(out->name) == sizeof(p.name));
  for (size_t i = 0; i < sizeof(p.name); ++i) out->name[i] = p.name[i];
  out->capability = 10 * p.major + p.minor;
  out->multiprocessors = p.multiProcessorCount;
  return Status::ok;
}

Status synchronize_stream(int device, int number) {
  const OnDevice here(device);
  return checked(cudaStreamSynchronize(stream_of(device, number)));
}
bool idle(int device, int number) {
  const OnDevice here(device);
  return answered(cudaStreamQuery(stream_of(device, number)));
}

constexpr Streams stream_functions{
    .select = select,
    .handle = [](int device, int number) { return static_cast<void*>(stream_of(device, number)); },
    .order = order_on,
    .synchronize = synchronize_stream,
    .idle = idle,
    .create_event = create_event,
    .destroy_event = destroy_event,
    .record = record,
    .wait = wait,
    .synchronize_event = synchronize_event,
    .event_done = event_done,
    .elapsed = elapsed,
    .owner = owner,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .release_cached_pinned = release_cached_pinned,
    .properties = properties};

// ---- whether there is anything to work with
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Enters the devices that this build supports; the reason why there is none, or nothing.
std::string find_devices() {
  int driver = 0, runtime = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "there is no NVIDIA driver on this machine";
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorInsufficientDriver)
    return "the NVIDIA driver is too old: it serves CUDA " + version_text(driver) + ", this build needs " +
           version_text(runtime / 1000 * 1000);
  if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0))
    return "the driver sees no NVIDIA device (CUDA_VISIBLE_DEVICES hides devices)";
  if (result != cudaSuccess)
    return std::string("the CUDA runtime failed to start: ") + cudaGetErrorName(result) + ": " +
           cudaGetErrorString(result);
  std::string unsupported;
  for (int i = 0; i < count && i < kMaxDevices; ++i) {
    cudaDeviceProp p{};
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) break;
    Device& d = device_list[i];
    d.capability = 10 * p.major + p.minor;
    d.multiprocessors = p.multiProcessorCount;
    d.reads_pageable = p.pageableMemoryAccess != 0;
    if (d.capability < kLeastCapability) {
      unsupported = std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." +
                    std::to_string(p.minor) + ", fastnn needs 7.5 or newer";
      break;
    }
    devices = i + 1;
  }
  if (devices == 0) return unsupported.empty() ? "the properties of the device cannot be read" : unsupported;
  return "";
}

}  // namespace
}  // namespace fastnn::cuda

// Null, with the reason in *why_not, where CUDA cannot be used.
extern "C" __attribute__((visibility("default"))) const fastnn::Backend* fastnn_cuda_backend(
    const char** why_not) {
  using namespace fastnn;
  static const std::string reason =
      cuda::forced_plan_mistake().empty() ? cuda::find_devices() : cuda::forced_plan_mistake();
  if (!reason.empty()) {
    *why_not = reason.c_str();
    return nullptr;
  }
  static const Backend backend{.abi = FASTNN_ABI,
                               .name = "cuda",
                               .kernels = &cuda::kernel_table(),
                               .exact_memory = false,
                               .device_count = cuda::device_count,
                               .allocate = cuda::allocate,
                               .release = cuda::release,
                               .copy = cuda::copy,
                               .synchronize = cuda::synchronize,
                               .context = cuda::context,
                               .reserve = cuda::reserve,
                               .error = cuda::error,
                               .take_bad_index = cuda::take_bad_index,
                               .expect = nullptr,
                               .streams = &cuda::stream_functions};
  return &backend;
}
