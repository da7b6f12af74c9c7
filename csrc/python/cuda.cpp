// CUDA devices, streams and events.
#include <atomic>
#include <iterator>
#include <memory>

#include "backend/loader.h"
#include "core/hooks.h"
#include "core/launch.h"
#include "ops/view/device.h"
#include "python/class.h"
#include "python/module.h"
#include "python/types.h"

namespace fastnn {
namespace {

constexpr const char* precision_names[] = {"fp32", "fp32_fast", "tf32", "bf16", "fp16"};

struct Stream {
  int device, number;
};

struct Event {
  struct Destroy {
    void operator()(void* handle) const { find_backend(DeviceType::cuda)->streams->destroy_event(handle); }
  };
  int device;
  std::unique_ptr<void, Destroy> handle;
  bool timed, recorded = false;
};

// A device as Python gives it, by number, name or device.
struct DeviceNumber {
  int number;
};

}  // namespace

template <>
inline constexpr const char* class_name<Stream> = "CudaStream";
template <>
inline constexpr const char* class_name<Event> = "CudaEvent";

template <>
struct From<DeviceNumber> : Held<DeviceNumber> {
  static constexpr TypeName type{"int | device | str"};
  From(const Arguments& a, int i) {
    if (const auto d = read_device(a[i])) {
      check_value(d->type == DeviceType::cuda, "expected a CUDA device, got ", *d);
      value = {d->index};
    } else if (PyIndex_Check(a[i])) {
      value = {From<int>(a, i).get()};
    } else {
      refuse(a, i, "a number, a device or its name");
    }
  }
};

namespace {

const Backend& cuda(int device) {
  check_value(device >= 0 && device < kMaxDevices, "a CUDA device is numbered from 0 to ", kMaxDevices - 1,
              ", got ", device);
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

// Numbers go round: more streams than the device runs at once bring nothing.
Stream new_stream(PyObject*, const DeviceNumber& device) {
  static std::atomic<unsigned> next[kMaxDevices];
  cuda(device.number);
  return {device.number, static_cast<int>(next[device.number].fetch_add(1) % (kMaxStreams - 1)) + 1};
}

void wait_for_stream(const Stream& s, const Stream& other) {
  const Backend& b = cuda(s.device);
  check_value(s.device == other.device, "wait_stream: the streams are on different devices");
  succeed("wait_stream", b,
          b.streams->order(s.device, b.streams->handle(s.device, other.number),
                           b.streams->handle(s.device, s.number)));
}

void define_streams(Definitions& d) {
  Class<Stream>(d, "A queue of work on a CUDA device.")
      .make("CudaStream(cls, device=0)", new_stream)
      .property(
          "device(self)", [](const Stream& s) { return s.device; }, "The number of its device.")
      .property(
          "number(self)", [](const Stream& s) { return s.number; }, "Which of the device's streams.")
      .property(
          "handle(self)",
          [](const Stream& s) {
            return reinterpret_cast<uintptr_t>(cuda(s.device).streams->handle(s.device, s.number));
          },
          "The cudaStream_t, as a number.")
      .method(
          "synchronize(self)",
          [](const Stream& s) {
            const Backend& b = cuda(s.device);
            succeed("synchronize", b,
                    without_lock([&] { return b.streams->synchronize(s.device, s.number); }));
          },
          "Waits until its work is done.")
      .method(
          "query(self)", [](const Stream& s) { return cuda(s.device).streams->idle(s.device, s.number); },
          "Whether its work is done.")
      .method("wait_stream(self, other)", wait_for_stream,
              "What is queued here from now on waits for what is queued there already.")
      .method("__eq__(self, other: object, /) -> bool",
              [](const Stream& a, PyObject* other) {
                if (!is_boxed<Stream>(other)) return Object::shared(Py_NotImplemented);
                const Stream& b = unboxed<Stream>(other);
                return truth(a.device == b.device && a.number == b.number);
              })
      .method("__hash__(self)", [](const Stream& s) { return s.device * kMaxStreams + s.number; })
      .method("__repr__(self)", [](const Stream& s) {
        return "<fastnn.cuda.Stream " + std::to_string(s.number) + " on cuda:" + std::to_string(s.device) +
               ">";
      });
  d.internal("_cuda_current_stream(device)",
             [](int device) { return Stream{device, cuda(device).context(device).stream_number}; });
  d.internal("_cuda_default_stream(device)", [](int device) {
    cuda(device);
    return Stream{device, 0};
  });
  d.internal("_cuda_select_stream(stream)",
             [](const Stream& s) { cuda(s.device).streams->select(s.device, s.number); });
}

Event new_event(PyObject*, bool timed, const DeviceNumber& device) {
  const Backend& b = cuda(device.number);
  void* handle = b.streams->create_event(device.number, timed);
  check(handle, ErrorKind::runtime, "Event: could not be made: ", b.error());
  return {.device = device.number, .handle = decltype(Event::handle)(handle), .timed = timed};
}

void record_event(Event& e, const std::optional<Stream>& stream) {
  const Backend& b = cuda(e.device);
  check_value(!stream || stream->device == e.device, "record: the stream is on another device");
  const int number = stream ? stream->number : b.context(e.device).stream_number;
  succeed("record", b, b.streams->record(e.handle.get(), e.device, number));
  e.recorded = true;
}

void wait_for_event(const Event& e, const std::optional<Stream>& stream) {
  const Backend& b = cuda(e.device);
  const int device = stream ? stream->device : e.device;
  const int number = stream ? stream->number : b.context(device).stream_number;
  succeed("wait", b, b.streams->wait(e.handle.get(), device, number));
}

double elapsed_time(const Event& start, const Event& end) {
  const Backend& b = cuda(start.device);
  check(start.timed && end.timed, ErrorKind::runtime,
        "elapsed_time: both events must be made with enable_timing=True");
  check(start.recorded && end.recorded, ErrorKind::runtime,
        "elapsed_time: both events must be recorded first");
  float milliseconds = 0;
  succeed("elapsed_time", b, b.streams->elapsed(start.handle.get(), end.handle.get(), &milliseconds));
  return milliseconds;
}

void define_events(Definitions& d) {
  Class<Event>(d, "A point in the work of a CUDA stream.")
      .make("CudaEvent(cls, enable_timing=False, device=0)", new_event)
      .method("record(self, stream=None)", record_event, "Marks what is queued on the stream so far.")
      .method("wait(self, stream=None)", wait_for_event,
              "What is queued on the stream from now on waits for the event.")
      .method(
          "synchronize(self)",
          [](const Event& e) {
            const Backend& b = cuda(e.device);
            succeed("synchronize", b,
                    without_lock([&] { return b.streams->synchronize_event(e.handle.get()); }));
          },
          "Waits until the event has come.")
      .method(
          "query(self)", [](const Event& e) { return cuda(e.device).streams->event_done(e.handle.get()); },
          "Whether the event has come.")
      .method("elapsed_time(self, end)", elapsed_time, "Milliseconds from this event to another.");
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
  });
  define_streams(d);
  define_events(d);
  d.internal("_pin_memory(x)", pin_memory);
  d.internal("_is_pinned(x)", [](const Tensor& x) { return x.impl()->storage->pinned; });
  d.internal("_record_stream(x, stream)", [](const Tensor& x, const Stream& s) {
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
