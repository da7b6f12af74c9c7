#include "memory.h"

#include <stdlib.h>
#include <atomic>
#include <bit>
#include <mutex>

#include "../backend/backend.h"
#include "check.h"

namespace fastnn {
namespace {

class SpinLock {
 public:
  void lock() {
    while (flag_.test_and_set(std::memory_order_acquire))
      while (flag_.test(std::memory_order_relaxed)) {
      }
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag flag_;
};

std::atomic<int64_t> system_calls{0};
std::atomic<int64_t> fail_after{0};

bool planned_failure() {
  return fail_after.load(std::memory_order_relaxed) > 0 && fail_after.fetch_sub(1) == 1;
}

// ---- small objects: one free list per multiple of 64 bytes
// ------------------------------------------------------------
constexpr size_t kStep = 64, kSmallClasses = 16, kChunk = 64 * 1024;

struct FreeObject {
  FreeObject* next;
};
struct SmallPool {
  SpinLock lock;
  FreeObject* free[kSmallClasses + 1] = {};
};
// Leaked on purpose: objects may be freed by other modules' destructors at exit.
SmallPool& small_pool() {
  static SmallPool& pool = *new SmallPool;
  return pool;
}

// ---- tensors: bins of four sizes per power of two, so that at most a quarter of a block is unused
// ---------------------
constexpr size_t kSmallest = 64;
constexpr int kBins = 4 * 42;

int bin_of(size_t bytes) {
  const size_t units = (bytes + kSmallest - 1) / kSmallest;
  if (units <= 4) return static_cast<int>(units) - 1;
  const int high = std::bit_width(units - 1) - 1;  // 2^high < units <= 2^(high + 1)
  return 4 * (high - 1) + static_cast<int>((units - 1) >> (high - 2)) - 4;
}
size_t bin_bytes(int bin) {
  if (bin < 4) return (bin + 1) * kSmallest;
  const int high = bin / 4 + 1;
  return (static_cast<size_t>(bin % 4 + 5) << (high - 2)) * kSmallest;
}

struct Bin {
  void** blocks = nullptr;
  size_t count = 0, capacity = 0;
  bool push(void* p) {
    if (count == capacity) {
      const size_t grown = capacity ? 2 * capacity : 16;
      void** larger = static_cast<void**>(realloc(blocks, grown * sizeof(void*)));
      if (!larger) return false;
      system_calls.fetch_add(1, std::memory_order_relaxed);
      blocks = larger, capacity = grown;
    }
    blocks[count++] = p;
    return true;
  }
};
constexpr int kMaxDevices = 8;
struct TensorPool {
  SpinLock lock;
  Bin bins[kBins];
  int64_t used = 0, cached = 0, peak = 0;
};
TensorPool& tensor_pool(Device d) {
  static TensorPool(&pools)[kDeviceTypes][kMaxDevices] = *new TensorPool[1][kDeviceTypes][kMaxDevices];
  return pools[static_cast<int>(d.type)][d.index];
}

void empty_cache_of(Device d, const Backend& backend) {
  TensorPool& pool = tensor_pool(d);
  std::lock_guard guard(pool.lock);
  for (int b = 0; b < kBins; ++b) {
    Bin& bin = pool.bins[b];
    while (bin.count > 0) {
      backend.release(bin.blocks[--bin.count], bin_bytes(b), d.index);
      pool.cached -= static_cast<int64_t>(bin_bytes(b));
    }
  }
}

}  // namespace

void* small_alloc(size_t bytes) {
  const size_t cls = (bytes + kStep - 1) / kStep;
  if (cls > kSmallClasses) {
    system_calls.fetch_add(1, std::memory_order_relaxed);
    void* p = malloc(bytes);
    if (!p) fail(ErrorKind::memory, "out of memory: ", bytes, " bytes of bookkeeping could not be had");
    return p;
  }
  SmallPool& pool = small_pool();
  std::lock_guard guard(pool.lock);
  if (!pool.free[cls]) {
    const size_t size = cls * kStep;
    char* chunk = planned_failure() ? nullptr : static_cast<char*>(aligned_alloc(kStep, kChunk));
    if (!chunk) fail(ErrorKind::memory, "out of memory: ", kChunk, " bytes of bookkeeping could not be had");
    system_calls.fetch_add(1, std::memory_order_relaxed);
    for (size_t at = 0; at + size <= kChunk; at += size) {
      FreeObject* object = reinterpret_cast<FreeObject*>(chunk + at);
      object->next = pool.free[cls];
      pool.free[cls] = object;
    }
  }
  FreeObject* object = pool.free[cls];
  pool.free[cls] = object->next;
  return object;
}

void small_free(void* p, size_t bytes) {
  const size_t cls = (bytes + kStep - 1) / kStep;
  if (cls > kSmallClasses) return free(p);
  SmallPool& pool = small_pool();
  std::lock_guard guard(pool.lock);
  FreeObject* object = static_cast<FreeObject*>(p);
  object->next = pool.free[cls];
  pool.free[cls] = object;
}

void* tensor_alloc(size_t bytes, Device device) {
  if (bytes == 0) return nullptr;
  check(bytes < (size_t{1} << 46), ErrorKind::memory, "out of memory: a tensor of ", bytes,
        " bytes cannot be had");
  const int b = bin_of(bytes);
  const size_t rounded = bin_bytes(b);
  TensorPool& pool = tensor_pool(device);
  void* p = nullptr;
  if (planned_failure())
    fail(ErrorKind::memory, "out of memory: allocating ", bytes, " bytes failed (planned by a test)");
  {
    std::lock_guard guard(pool.lock);
    Bin& bin = pool.bins[b];
    if (bin.count > 0) {
      p = bin.blocks[--bin.count];
      pool.cached -= static_cast<int64_t>(rounded);
    }
  }
  if (!p) {
    const Backend& backend = *find_backend(device.type);
    system_calls.fetch_add(1, std::memory_order_relaxed);
    p = backend.allocate(rounded, device.index);
    if (!p) {
      empty_cache_of(device, backend);
      p = backend.allocate(rounded, device.index);
    }
    if (!p)
      fail(ErrorKind::memory, "out of memory: a tensor of ", bytes, " bytes could not be had on ",
           backend.name);
  }
  std::lock_guard guard(pool.lock);
  pool.used += static_cast<int64_t>(rounded);
  if (pool.used > pool.peak) pool.peak = pool.used;
  return p;
}

void tensor_free(void* p, size_t bytes, Device device) {
  if (!p) return;
  const int b = bin_of(bytes);
  const int64_t rounded = static_cast<int64_t>(bin_bytes(b));
  TensorPool& pool = tensor_pool(device);
  {
    std::lock_guard guard(pool.lock);
    pool.used -= rounded;
    if (pool.bins[b].push(p)) {
      pool.cached += rounded;
      return;
    }
  }
  find_backend(device.type)->release(p, static_cast<size_t>(rounded), device.index);
}

void empty_cache() {
  for (int type = 0; type < kDeviceTypes; ++type)
    if (const Backend* backend = find_backend(static_cast<DeviceType>(type)))
      for (int i = 0; i < kMaxDevices; ++i)
        empty_cache_of({static_cast<DeviceType>(type), static_cast<int8_t>(i)}, *backend);
}

MemoryStats memory_stats(DeviceType type) {
  MemoryStats stats{0, 0, 0, system_calls.load()};
  for (int i = 0; i < kMaxDevices; ++i) {
    TensorPool& pool = tensor_pool({type, static_cast<int8_t>(i)});
    std::lock_guard guard(pool.lock);
    stats.used += pool.used, stats.cached += pool.cached, stats.peak += pool.peak;
  }
  return stats;
}

void reset_peak_memory(DeviceType type) {
  for (int i = 0; i < kMaxDevices; ++i) {
    TensorPool& pool = tensor_pool({type, static_cast<int8_t>(i)});
    std::lock_guard guard(pool.lock);
    pool.peak = pool.used;
  }
}

void fail_allocation_after(int64_t n) { fail_after.store(n); }

}  // namespace fastnn
