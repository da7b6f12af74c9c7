// Two allocators that keep what they are given back, so that a training loop that has warmed up asks the
// system for nothing.
//   small_alloc   bookkeeping objects of a fixed size (tensors, storages, tape nodes)
//   tensor_alloc  the elements of tensors, on any device, 64-byte aligned
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../backend/dtype.h"

namespace fastnn {

struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
};

void* small_alloc(size_t bytes);
void small_free(void* p, size_t bytes);

// A class whose objects live in small_alloc.
struct Pooled {
  static void* operator new(size_t bytes) { return small_alloc(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }
};

void* tensor_alloc(size_t bytes,
                   Device device);  // throws Error(memory) when there is none, after emptying the cache
void tensor_free(void* p, size_t bytes, Device device);
void empty_cache();

struct MemoryStats {
  int64_t used, cached, peak;  // bytes in tensors, bytes kept for reuse, the largest `used` so far
  int64_t system_calls;        // blocks asked of the device so far; constant once a loop has warmed up
};
MemoryStats memory_stats(DeviceType type);
void reset_peak_memory(DeviceType type);

// For tests: the n-th allocation from now fails (1 is the next; 0 switches this off).
void fail_allocation_after(int64_t n);

}  // namespace fastnn
