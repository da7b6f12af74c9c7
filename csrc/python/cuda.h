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
template <>
struct From<DeviceNumber> : Held<DeviceNumber> {
  static constexpr TypeName type{"int | device | str"};
  From(const Arguments& a, int i) {
    const auto number = read_device_number(a[i]);
    if (!number) refuse(a, i, "a device, its name or its number");
    value = *number;
  }
};
template <>
struct To<DeviceNumber> {
  static constexpr TypeName type{"int"};
  static PyObject* of(DeviceNumber d) { return To<int>::of(d.number); }
};

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
template <>
inline constexpr const char* class_name<CudaEvent> = "CudaEvent";
template <>
struct From<const CudaStream*> : Held<const CudaStream*> {  // null for None
  static constexpr TypeName type{"CudaStream", true};
  From(const Arguments& a, int i) : Held{a[i] == Py_None ? nullptr : &From<CudaStream&>(a, i).get()} {}
};

}  // namespace fastnn
