// Streams and events of CUDA devices, as Python sees them.
#pragma once
#include <memory>
#include <optional>

#include "python/instance.h"

namespace fastnn {

// A device as Python gives it, by number, name or device.
struct DeviceNumber {
  int number;
};
std::optional<DeviceNumber> read_device_number(PyObject* o);

struct CudaStream {
  int device, number;

  static CudaStream next(DeviceNumber device);
  bool operator==(const CudaStream&) const = default;
  uintptr_t handle() const;
  void synchronize() const;
  bool query() const;
  void wait_stream(const CudaStream& other) const;
};

struct CudaEvent {
  struct Destroy {
    void operator()(void* handle) const;
  };
  int device;
  std::unique_ptr<void, Destroy> handle;
  bool timed, recorded = false;

  static CudaEvent make(bool timed, DeviceNumber device);
  void record(const CudaStream* stream);  // none: the one that work is queued on now
  void wait(const CudaStream* stream) const;
  void synchronize() const;
  bool query() const;
  double elapsed_time(const CudaEvent& end) const;
};

template <>
inline constexpr const char* class_name<CudaStream> = "CudaStream";

}  // namespace fastnn
