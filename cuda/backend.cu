// NVIDIA devices as a backend: memory, streams, copies, events, through the CUDA runtime, which is linked in
// statically and opens the driver only when asked. So this library loads on any machine and says what is missing.
#include <cuda_runtime.h>

#include <atomic>
#include <mutex>
#include <string>

#include "backend/backend.h"

namespace fastnn::cuda {

const KernelTable& kernel_table();

namespace {

constexpr int kLeastCapability = 75;

// ---- errors: the runtime's words for what failed last in this thread
thread_local std::string last_error = "no reason was given";

Status checked(cudaError_t result) {
  if (result == cudaSuccess) return Status::ok;
  last_error = std::string(cudaGetErrorName(result)) + ": " + cudaGetErrorString(result);
  cudaGetLastError();  // forgotten, where it can be: an error that the device does not survive comes again
  return Status::device_error;
}
const char* error() {
  checked(cudaGetLastError());  // a launch's, which only says that there is one
  return last_error.c_str();
}

// Makes a device current for the length of a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    if (before_ != device) cudaSetDevice(device);
    device_ = device;
  }
  ~OnDevice() {
    if (before_ != device_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0, device_ = 0;
};

// ---- devices
struct Device {
  int capability = 0, multiprocessors = 0;
  std::mutex mutex;
  cudaStream_t streams[kMaxStreams] = {};  // made at first use; number 0 is the legacy default stream
};
int devices = 0;
Device device_list[kMaxDevices];

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
struct ThreadContext : Context {
  bool ready = false;
  // Scratch is not given back when a thread ends: at exit the driver may be gone already.
};
const volatile int never = 0;

Context& context(int device) {
  thread_local ThreadContext contexts[kMaxDevices];
  ThreadContext& ctx = contexts[device];
  if (!ctx.ready) {
    ctx.ready = true;
    ctx.stream = cudaStreamLegacy;
    ctx.device = device;
    ctx.capability = device_list[device].capability;
    ctx.multiprocessors = device_list[device].multiprocessors;
    ctx.cancel = &never;
  }
  int current = -1;  // where kernels are launched; another library may have changed it
  cudaGetDevice(&current);
  if (current != device) cudaSetDevice(device);
  return ctx;
}

// ---- memory. Blocks are kept for reuse above this, in the order of their streams, so the device is asked rarely and
// the plain calls do: cudaFree waits for work that uses the block.
void* allocate(size_t bytes, int device) {
  context(device);
  void* p = nullptr;
  return checked(cudaMalloc(&p, bytes)) == Status::ok ? p : nullptr;
}
void release(void* p, size_t, int device) {
  context(device);
  cudaFree(p);
}

bool reserve(Context& ctx, size_t bytes) {
  if (ctx.scratch) release(ctx.scratch, ctx.scratch_bytes, ctx.device);
  const size_t grown = bytes + bytes / 4;
  ctx.scratch = static_cast<char*>(allocate(grown, ctx.device));
  ctx.scratch_bytes = ctx.scratch ? grown : 0;
  return ctx.scratch != nullptr;
}

void select(int device, int number) {
  Context& ctx = context(device);
  if (ctx.stream_number == number) return;
  if (ctx.scratch) {  // serves the work of the stream that is left
    release(ctx.scratch, ctx.scratch_bytes, device);
    ctx.scratch = nullptr, ctx.scratch_bytes = 0;
  }
  ctx.stream = stream_of(device, number);
  ctx.stream_number = number;
}

// ---- order between streams
Status order(int device, void* first, void* then) {
  if (first == then) return Status::ok;
  const OnDevice here(device);
  cudaEvent_t event = nullptr;
  Status status = checked(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  if (status != Status::ok) return status;
  status = checked(cudaEventRecord(event, static_cast<cudaStream_t>(first)));
  if (status == Status::ok) status = checked(cudaStreamWaitEvent(static_cast<cudaStream_t>(then), event, 0));
  cudaEventDestroy(event);  // takes effect once the wait is over
  return status;
}

Status copy(void* dst, int to, const void* src, int from, size_t bytes, bool wait) {
  const int device = to == kHost ? from : to;
  Context& ctx = context(device);
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (to != kHost && from != kHost && to != from) {
    // Behind what is queued where the source is, and nothing there goes on before it has been read. An event
    // belongs to one device's streams but any stream may wait for it.
    void* there = context(from).stream;
    Status status = order(from, there, stream);
    context(to);
    if (status == Status::ok) status = checked(cudaMemcpyPeerAsync(dst, to, src, from, bytes, stream));
    if (status == Status::ok) status = order(to, stream, there);
    return status;
  }
  const Status status = checked(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, stream));
  if (status != Status::ok) return status;
  if (to == kHost) return checked(cudaStreamSynchronize(stream));
  if (from != kHost || !wait) return Status::ok;
  // From pageable memory the runtime has made its own copy by now; pinned memory is still being read.
  cudaPointerAttributes attributes{};
  const bool pinned = cudaPointerGetAttributes(&attributes, src) == cudaSuccess && attributes.type == cudaMemoryTypeHost;
  cudaGetLastError();
  return pinned ? checked(cudaStreamSynchronize(stream)) : Status::ok;
}

Status synchronize(int device) {
  const OnDevice here(device);
  return checked(cudaDeviceSynchronize());
}

// ---- events
void* create_event(int device, bool timed) {
  const OnDevice here(device);
  cudaEvent_t event = nullptr;
  return checked(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming)) == Status::ok
             ? event
             : nullptr;
}
void destroy_event(void* event) { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }
Status record(void* event, int device, int stream) {
  const OnDevice here(device);
  return checked(cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(device, stream)));
}
Status wait(void* event, int device, int stream) {
  const OnDevice here(device);
  return checked(cudaStreamWaitEvent(stream_of(device, stream), static_cast<cudaEvent_t>(event), 0));
}
Status synchronize_event(void* event) { return checked(cudaEventSynchronize(static_cast<cudaEvent_t>(event))); }
bool event_done(void* event) { return cudaEventQuery(static_cast<cudaEvent_t>(event)) == cudaSuccess; }
Status elapsed(void* start, void* end, float* milliseconds) {
  return checked(
      cudaEventElapsedTime(milliseconds, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(end)));
}

// ---- pinned memory
void* allocate_pinned(size_t bytes) {
  void* p = nullptr;
  return checked(cudaHostAlloc(&p, bytes, cudaHostAllocPortable)) == Status::ok ? p : nullptr;
}
void release_pinned(void* p) {
  for (int i = 0; i < devices; ++i) synchronize(i);  // a queued copy may still read it
  cudaFreeHost(p);
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

constexpr Streams stream_functions{
    .select = select,
    .handle = [](int device, int number) { return static_cast<void*>(stream_of(device, number)); },
    .order = order,
    .synchronize = [](int device, int number) { return checked(cudaStreamSynchronize(stream_of(device, number))); },
    .idle = [](int device, int number) { return cudaStreamQuery(stream_of(device, number)) == cudaSuccess; },
    .create_event = create_event,
    .destroy_event = destroy_event,
    .record = record,
    .wait = wait,
    .synchronize_event = synchronize_event,
    .event_done = event_done,
    .elapsed = elapsed,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
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
extern "C" __attribute__((visibility("default"))) const fastnn::Backend* fastnn_cuda_backend(const char** why_not) {
  using namespace fastnn;
  static const std::string reason = cuda::find_devices();
  if (!reason.empty()) {
    *why_not = reason.c_str();
    return nullptr;
  }
  static const Backend backend{.version = kBackendVersion,
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
                               .streams = &cuda::stream_functions};
  return &backend;
}
