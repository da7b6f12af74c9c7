// What the emulator's tests share.
#pragma once
#include "cuda/common/common.cuh"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fastnn::cuda {

// A host array on the device for the length of a scope.
class OnDevice {
 public:
  OnDevice(void* host, size_t bytes) : host_(host), bytes_(bytes), device_(emulator::allocate(0, bytes)) {
    emulator::copy(device_, 0, host, -1, bytes);
  }
  ~OnDevice() {
    emulator::copy(host_, -1, device_, 0, bytes_);
    emulator::release(0, device_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(device_);
  }

 private:
  void* host_;
  size_t bytes_;
  void* device_;
};

}  // namespace fastnn::cuda
