// Two allocators that keep what they are given back, so that a training loop that has warmed up asks the
// system for nothing.
//   small_alloc   bookkeeping objects of a fixed size (tensors, storages, tape nodes)
//   tensor_alloc  the elements of tensors, on any device, 64-byte aligned
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string>

#include "backend/dtype.h"

namespace fastnn {

struct Backend;

struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
};
void print(std::string& out, Device device);

// The backend of a device that exists and can be used; else an error that says why not.
const Backend& backend_of(Device device);

void* small_alloc(size_t bytes);
void small_free(void* p, size_t bytes);

// A class whose objects live in small_alloc.
struct Pooled {
  static void* operator new(size_t bytes) { return small_alloc(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }
};

// A block of device memory and the stream whose work it is ordered with: freed, it serves again on that
// stream.
struct Block {
  void* data;
  uint8_t stream;
};
Block tensor_alloc(size_t bytes,
                   Device device);  // throws Error(memory) when there is none, after emptying the cache
// `others`: bit per stream that has used the block too; its own then waits for them.
void tensor_free(Block block, size_t bytes, Device device, uint32_t others);
void empty_cache();
void empty_cache(Device device);

struct MemoryStats {
  int64_t used, cached, peak;  // bytes in tensors, bytes kept for reuse, the largest `used` so far
  int64_t system_calls;        // blocks asked of the device so far; constant once a loop has warmed up
};
MemoryStats memory_stats(Device device);
void reset_peak_memory(Device device);

// For tests: the n-th allocation from now fails (1 is the next; 0 switches this off).
void fail_allocation_after(int64_t n);

}  // namespace fastnn
