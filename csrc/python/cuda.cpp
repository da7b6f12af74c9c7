// CUDA devices, streams and events.
#include "python/cuda.h"

#include <atomic>
#include <iterator>

#include "backend/loader.h"
#include "core/hooks.h"
#include "core/launch.h"
#include "ops/view/device.h"
#include "python/module.h"
#include "python/types.h"

namespace fastnn {
namespace {

constexpr const char* precision_names[] = {"fp32", "fp32_fast", "tf32", "bf16", "fp16"};

DeviceNumber checked(int64_t device) {
  check_value(device >= 0 && device < kMaxDevices, "a CUDA device is numbered from 0 to ", kMaxDevices - 1,
              ", got ", device);
  return {static_cast<int>(device)};
}

const Backend& cuda(int device) {
  checked(device);
  return backend_of({DeviceType::cuda, static_cast<int8_t>(device)});
}

void succeed(const char* what, const Backend& backend, Status status) {
  check(status == Status::ok, ErrorKind::runtime, what, ": failed: ", backend.error());
}

// Waiting for a device lets other threads of Python run.
template <class F>
Status without_lock(F&& wait) {
  const Unlocked unlocked;
  return wait();
}

Object properties(int device) {
  const Backend& b = cuda(device);
  DeviceProperties p{};
  succeed("get_device_properties", b, b.streams->properties(device, &p));
  Dict d;
  d.set("name", text(p.name));
  d.set("capability", integer(p.capability));
  d.set("multiprocessors", integer(p.multiprocessors));
  d.set("total_memory", integer(p.memory));
  d.set("free_memory", integer(p.free_memory));
  return d.object();
}

}  // namespace

std::optional<DeviceNumber> read_device_number(PyObject* o) {
  if (const auto d = read_device(o)) {
    check_value(d->type == DeviceType::cuda, "expected a CUDA device, got ", *d);
    return DeviceNumber{d->index};
  }
  if (!PyIndex_Check(o)) return {};
  return checked(integer_of(Object::shared(o)));
}

// ---- streams

// Numbers go round: more streams than the device runs at once bring nothing.
CudaStream CudaStream::next(DeviceNumber device) {
  static std::atomic<unsigned> next[kMaxDevices];
  cuda(device.number);
  return {device.number, static_cast<int>(next[device.number].fetch_add(1) % (kMaxStreams - 1)) + 1};
}

uintptr_t CudaStream::handle() const {
  return reinterpret_cast<uintptr_t>(cuda(device).streams->handle(device, number));
}

void CudaStream::synchronize() const {
  const Backend& b = cuda(device);
  succeed("synchronize", b, without_lock([&] { return b.streams->synchronize(device, number); }));
  raise_bad_index(b, {DeviceType::cuda, static_cast<int8_t>(device)});
}

bool CudaStream::query() const { return cuda(device).streams->idle(device, number); }

void CudaStream::wait_stream(const CudaStream& other) const {
  const Backend& b = cuda(device);
  check_value(device == other.device, "wait_stream: the streams are on different devices");
  succeed(
      "wait_stream", b,
      b.streams->order(device, b.streams->handle(device, other.number), b.streams->handle(device, number)));
}

// ---- events

void CudaEvent::Destroy::operator()(void* handle) const {
  find_backend(DeviceType::cuda)->streams->destroy_event(handle);
}

CudaEvent CudaEvent::make(bool timed, DeviceNumber device) {
  const Backend& b = cuda(device.number);
  void* handle = b.streams->create_event(device.number, timed);
  check(handle, ErrorKind::runtime, "Event: could not be made: ", b.error());
  return {.device = device.number, .handle = decltype(CudaEvent::handle)(handle), .timed = timed};
}

void CudaEvent::record(const CudaStream* stream) {
  const Backend& b = cuda(device);
  check_value(!stream || stream->device == device, "record: the stream is on another device");
  const int number = stream ? stream->number : b.context(device).stream_number;
  succeed("record", b, b.streams->record(handle.get(), device, number));
  recorded = true;
}

void CudaEvent::wait(const CudaStream* stream) const {
  const Backend& b = cuda(device);
  const int waiting = stream ? stream->device : device;
  const int number = stream ? stream->number : b.context(waiting).stream_number;
  succeed("wait", b, b.streams->wait(handle.get(), waiting, number));
}

void CudaEvent::synchronize() const {
  const Backend& b = cuda(device);
  succeed("synchronize", b, without_lock([&] { return b.streams->synchronize_event(handle.get()); }));
  raise_bad_index(b, {DeviceType::cuda, static_cast<int8_t>(device)});
}

bool CudaEvent::query() const { return cuda(device).streams->event_done(handle.get()); }

double CudaEvent::elapsed_time(const CudaEvent& end) const {
  const Backend& b = cuda(device);
  check(timed && end.timed, ErrorKind::runtime,
        "elapsed_time: both events must be made with enable_timing=True");
  check(recorded && end.recorded, ErrorKind::runtime, "elapsed_time: both events must be recorded first");
  float milliseconds = 0;
  succeed("elapsed_time", b, b.streams->elapsed(handle.get(), end.handle.get(), &milliseconds));
  return milliseconds;
}

void define_cuda(Definitions& d) {
  d.internal("_cuda_why_not() -> str | None", [] {
    const char* why = cuda_why_not();
    return why ? text(why) : none();
  });
  d.internal("_cuda_device_count()", [] {
    const Backend* b = find_backend(DeviceType::cuda);
    return b ? b->device_count() : 0;
  });
  d.internal("_cuda_properties(device) -> dict[str, Any]", properties);
  d.internal("_cuda_synchronize(device)", [](int device) {
    const Backend& b = cuda(device);
    succeed("synchronize", b, without_lock([&] { return b.synchronize(device); }));
    raise_bad_index(b, {DeviceType::cuda, static_cast<int8_t>(device)});
  });
  d.internal("_cuda_current_stream(device)",
             [](int device) { return CudaStream{device, cuda(device).context(device).stream_number}; });
  d.internal("_cuda_default_stream(device)", [](int device) {
    cuda(device);
    return CudaStream{device, 0};
  });
  d.internal("_cuda_select_stream(stream)",
             [](const CudaStream& s) { cuda(s.device).streams->select(s.device, s.number); });
  d.internal("_pin_memory(x)", pin_memory);
  d.internal("_is_pinned(x)", [](const Tensor& x) { return x.impl()->storage->pinned; });
  d.internal("_record_stream(x, stream)", [](const Tensor& x, const CudaStream& s) {
    check_value(x.device() == Device{DeviceType::cuda, static_cast<int8_t>(s.device)},
                "record_stream: the tensor is on ", x.device(), ", the stream on cuda:", s.device);
    x.impl()->storage->used_on(s.number);
  });
  d.internal("_precision()", [] { return precision_names[static_cast<int>(precision())]; });
  d.internal("_set_precision(precision)", [](const std::string& name) {
    for (size_t i = 0; i < std::size(precision_names); ++i)
      if (name == precision_names[i]) return set_precision(static_cast<Precision>(i));
    fail(ErrorKind::value,
         "precision: expected \"fp32\", \"fp32_fast\", \"tf32\", \"bf16\" or \"fp16\", got \"", name, "\"");
  });
}

}  // namespace fastnn
