// A backend is one device's memory, kernels and context behind a table of functions. The CPU's is linked in;
// CUDA's comes from a library of its own.
#pragma once
#include "kernel_table.h"

namespace fastnn {

constexpr int kBackendVersion = 1;

struct Backend {
  int version;
  const char* name;
  const KernelTable* kernels;

  void* (*allocate)(size_t bytes, int device);  // 64-byte aligned, null when there is none left
  void (*release)(void* memory, size_t bytes, int device);
  Status (*copy_to_host)(void* dst, const void* src, size_t bytes, int device);
  Status (*copy_from_host)(void* dst, const void* src, size_t bytes, int device);
  Status (*synchronize)(int device);
  Context& (*context)(int device);              // the calling thread's
  bool (*reserve)(Context& ctx, size_t bytes);  // grows the context's scratch; false when memory is short
};

const Backend& cpu_backend();
const Backend* find_backend(DeviceType type);  // null when it is not available

}  // namespace fastnn
