// What the files of this folder share: the runtime's errors, the current device, what is known of each
// device.
#pragma once
#include <cuda_runtime.h>

#include <atomic>
#include <mutex>

#include "backend/backend.h"

namespace fastnn::cuda {

// Keeps the runtime's words for what failed, for error().
Status checked(cudaError_t result);
// A question whose answer may be "not ready", or a release that may come too late: the runtime counts both as
// errors, and the next launch would be blamed.
bool answered(cudaError_t result);

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

struct Device {
  int capability = 0, multiprocessors = 0;
  bool reads_pageable =
      false;  // reads any host memory by itself: a copy from there may still run on its return
  std::atomic<bool> used = false;  // a context was asked for: there may be work
  std::mutex mutex;
  cudaStream_t streams[kMaxStreams] = {};  // made at first use; number 0 is the legacy default stream
};
inline int devices = 0;
inline Device device_list[kMaxDevices];

// ---- pinned memory, kept for reuse behind what was queued when it was given back
void* allocate_pinned(size_t bytes);
void release_pinned(void* memory);
void release_cached_pinned();

}  // namespace fastnn::cuda
