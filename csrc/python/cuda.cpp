// CUDA devices, streams and events.
#include <pybind11/stl.h>

#include <atomic>
#include <iterator>
#include <memory>
#include <variant>

#include "backend/loader.h"
#include "core/launch.h"
#include "ops/view/device.h"
#include "python/types.h"

namespace fastnn {
namespace {

constexpr const char* precision_names[] = {"fp32", "fp32_fast", "tf32", "bf16", "fp16"};

struct Stream {
  int device, number;
};

struct Event {
  int device;
  void* handle;
  bool timed, recorded = false;

  Event(int device, void* handle, bool timed) : device(device), handle(handle), timed(timed) {}
  ~Event() { find_backend(DeviceType::cuda)->streams->destroy_event(handle); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

const Backend& cuda(int device) {
  check_value(device >= 0 && device < kMaxDevices, "a CUDA device is numbered from 0 to ", kMaxDevices - 1,
              ", got ", device);
  return backend_of({DeviceType::cuda, static_cast<int8_t>(device)});
}

void succeed(const char* what, const Backend& backend, Status status) {
  check(status == Status::ok, ErrorKind::runtime, what, ": failed: ", backend.error());
}

// A device as Python gives it, by number, name or device.
int device_number(const std::variant<int, Device>& device) {
  if (const int* number = std::get_if<int>(&device)) return *number;
  const Device d = std::get<Device>(device);
  check_value(d.type == DeviceType::cuda, "expected a CUDA device, got ", d);
  return d.index;
}

// Numbers go round: more streams than the device runs at once bring nothing.
Stream new_stream(const std::variant<int, Device>& which) {
  const int device = device_number(which);
  static std::atomic<unsigned> next[kMaxDevices];
  cuda(device);
  return {device, static_cast<int>(next[device].fetch_add(1) % (kMaxStreams - 1)) + 1};
}

void define_streams(py::module_& m) {
  py::class_<Stream>(m, "CudaStream")
      .def(py::init(&new_stream), py::arg("device") = 0)
      .def_readonly("device", &Stream::device)
      .def_readonly("number", &Stream::number)
      .def_property_readonly(
          "handle",
          [](const Stream& s) {
            return reinterpret_cast<uintptr_t>(cuda(s.device).streams->handle(s.device, s.number));
          })
      .def("synchronize",
           [](const Stream& s) {
             const Backend& b = cuda(s.device);
             Status status;
             {
               py::gil_scoped_release release;
               status = b.streams->synchronize(s.device, s.number);
             }
             succeed("synchronize", b, status);
           })
      .def("query", [](const Stream& s) { return cuda(s.device).streams->idle(s.device, s.number); })
      .def("wait_stream",
           [](const Stream& s, const Stream& other) {
             const Backend& b = cuda(s.device);
             check_value(s.device == other.device, "wait_stream: the streams are on different devices");
             succeed("wait_stream", b,
                     b.streams->order(s.device, b.streams->handle(s.device, other.number),
                                      b.streams->handle(s.device, s.number)));
           })
      .def(
          "__eq__",
          [](const Stream& a, const Stream& b) { return a.device == b.device && a.number == b.number; },
          py::is_operator())
      .def("__hash__", [](const Stream& s) { return s.device * kMaxStreams + s.number; })
      .def("__repr__", [](const Stream& s) {
        return "<fastnn.cuda.Stream " + std::to_string(s.number) + " on cuda:" + std::to_string(s.device) +
               ">";
      });
  m.def("_cuda_current_stream",
        [](int device) { return Stream{device, cuda(device).context(device).stream_number}; });
  m.def("_cuda_default_stream", [](int device) {
    cuda(device);
    return Stream{device, 0};
  });
  m.def("_cuda_select_stream", [](const Stream& s) { cuda(s.device).streams->select(s.device, s.number); });
}

void define_events(py::module_& m) {
  py::class_<Event>(m, "CudaEvent")
      .def(py::init([](bool timed, const std::variant<int, Device>& which) {
             const int device = device_number(which);
             const Backend& b = cuda(device);
             void* handle = b.streams->create_event(device, timed);
             check(handle, ErrorKind::runtime, "Event: could not be made: ", b.error());
             return std::make_unique<Event>(device, handle, timed);
           }),
           py::arg("enable_timing") = false, py::arg("device") = 0)
      .def(
          "record",
          [](Event& e, const std::optional<Stream>& stream) {
            const Backend& b = cuda(e.device);
            check_value(!stream || stream->device == e.device, "record: the stream is on another device");
            const int number = stream ? stream->number : b.context(e.device).stream_number;
            succeed("record", b, b.streams->record(e.handle, e.device, number));
            e.recorded = true;
          },
          py::arg("stream") = py::none())
      .def(
          "wait",
          [](const Event& e, const std::optional<Stream>& stream) {
            const Backend& b = cuda(e.device);
            const int device = stream ? stream->device : e.device;
            const int number = stream ? stream->number : b.context(device).stream_number;
            succeed("wait", b, b.streams->wait(e.handle, device, number));
          },
          py::arg("stream") = py::none())
      .def("synchronize",
           [](const Event& e) {
             const Backend& b = cuda(e.device);
             Status status;
             {
               py::gil_scoped_release release;
               status = b.streams->synchronize_event(e.handle);
             }
             succeed("synchronize", b, status);
           })
      .def("query", [](const Event& e) { return cuda(e.device).streams->event_done(e.handle); })
      .def(
          "elapsed_time",
          [](const Event& start, const Event& end) {
            const Backend& b = cuda(start.device);
            check(start.timed && end.timed, ErrorKind::runtime,
                  "elapsed_time: both events must be made with enable_timing=True");
            check(start.recorded && end.recorded, ErrorKind::runtime,
                  "elapsed_time: both events must be recorded first");
            float milliseconds = 0;
            succeed("elapsed_time", b, b.streams->elapsed(start.handle, end.handle, &milliseconds));
            return milliseconds;
          },
          py::arg("end"));
}

}  // namespace

void define_cuda(py::module_& m) {
  m.def("_cuda_why_not", cuda_why_not);
  m.def("_cuda_device_count", [] {
    const Backend* b = find_backend(DeviceType::cuda);
    return b ? b->device_count() : 0;
  });
  m.def("_cuda_properties", [](int device) {
    const Backend& b = cuda(device);
    DeviceProperties p{};
    succeed("get_device_properties", b, b.streams->properties(device, &p));
    py::dict d;
    d["name"] = p.name, d["capability"] = p.capability, d["multiprocessors"] = p.multiprocessors;
    d["total_memory"] = p.memory, d["free_memory"] = p.free_memory;
    return d;
  });
  m.def("_cuda_synchronize", [](int device) {
    const Backend& b = cuda(device);
    Status status;
    {
      py::gil_scoped_release release;
      status = b.synchronize(device);
    }
    succeed("synchronize", b, status);
  });
  define_streams(m);
  define_events(m);
  m.def("_pin_memory", pin_memory);
  m.def("_is_pinned", [](const Tensor& x) { return x.impl()->storage->pinned; });
  m.def("_record_stream", [](const Tensor& x, const Stream& s) {
    check_value(x.device() == Device{DeviceType::cuda, static_cast<int8_t>(s.device)},
                "record_stream: the tensor is on ", x.device(), ", the stream on cuda:", s.device);
    x.impl()->storage->used_on(s.number);
  });
  m.def("_precision", [] { return precision_names[static_cast<int>(precision())]; });
  m.def("_set_precision", [](const std::string& name) {
    for (size_t i = 0; i < std::size(precision_names); ++i)
      if (name == precision_names[i]) return set_precision(static_cast<Precision>(i));
    fail(ErrorKind::value,
         "precision: expected \"fp32\", \"fp32_fast\", \"tf32\", \"bf16\" or \"fp16\", got \"", name, "\"");
  });
}

}  // namespace fastnn
