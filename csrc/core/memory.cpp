#include "core/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <atomic>
#include <bit>
#include <mutex>
#include <new>

#include "backend/loader.h"
#include "core/check.h"

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
struct TensorPool {
  SpinLock lock;
  Bin* bins[kMaxStreams] = {};  // kBins each, made when the stream gets its first block back
  int64_t used = 0, cached = 0, peak = 0;
  int64_t system_calls = 0;

  Bin* bins_of(int stream) {
    if (!bins[stream]) {
      bins[stream] = new (std::nothrow) Bin[kBins];
      ++system_calls;
    }
    return bins[stream];
  }
  void* take_cached(int stream, int bin) {
    std::lock_guard guard(lock);
    if (!bins[stream] || bins[stream][bin].count == 0) return nullptr;
    cached -= static_cast<int64_t>(bin_bytes(bin));
    Bin& from = bins[stream][bin];
    return from.blocks[--from.count];
  }
};
TensorPool& tensor_pool(Device d) {
  static TensorPool(&pools)[kDeviceTypes][kMaxDevices] = *new TensorPool[1][kDeviceTypes][kMaxDevices];
  return pools[static_cast<int>(d.type)][d.index];
}

// A thread that is not there in a forked child must not hold a lock there.
void for_all_locks(void (*f)(SpinLock&)) {
  f(small_pool().lock);
  for (const DeviceType type : {DeviceType::cpu, DeviceType::cuda})
    for (int i = 0; i < kMaxDevices; ++i) f(tensor_pool({type, static_cast<int8_t>(i)}).lock);
}
void unlock_all() {
  for_all_locks([](SpinLock& lock) { lock.unlock(); });
}
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { for_all_locks([](SpinLock& lock) { lock.lock(); }); }, unlock_all, unlock_all);

void empty_cache_of(Device d, const Backend& backend) {
  TensorPool& pool = tensor_pool(d);
  for (int stream = 0; stream < kMaxStreams; ++stream)
    for (int b = 0; b < kBins; ++b)
      while (void* block = pool.take_cached(stream, b))
        backend.release(block, bin_bytes(b), d.index);  // a device waits for its work here: without the lock
  if (backend.streams) backend.streams->release_cached_pinned();
}

uint8_t current_stream(const Backend& backend, Device d) {
  return backend.streams ? static_cast<uint8_t>(backend.context(d.index).stream_number) : 0;
}

}  // namespace

const Backend& backend_of(Device device) {
  if (device.type == DeviceType::cpu) return cpu_backend();
  const Backend* backend = find_backend(device.type);
  if (!backend || lost_in_fork()) [[unlikely]]
    fail(ErrorKind::runtime, device, " cannot be used: ", cuda_why_not());
  const int count = backend->device_count();
  if (device.index < 0 || device.index >= count) [[unlikely]]
    fail(ErrorKind::runtime, "there is no ", device, ": CUDA sees ", count,
         count == 1 ? " device" : " devices", ", the first is cuda:0");
  return *backend;
}

void* small_alloc(size_t bytes) {
  const size_t cls = (bytes + kStep - 1) / kStep;
  if (kExactMemory || cls > kSmallClasses) {
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
  if (kExactMemory || cls > kSmallClasses) return free(p);
  SmallPool& pool = small_pool();
  std::lock_guard guard(pool.lock);
  FreeObject* object = static_cast<FreeObject*>(p);
  object->next = pool.free[cls];
  pool.free[cls] = object;
}

Block tensor_alloc(size_t bytes, Device device) {
  const Backend& backend = backend_of(device);  // also for no bytes: a device that is not there is refused
  if (bytes == 0) return {nullptr, 0};
  check(bytes < (size_t{1} << 46), ErrorKind::memory, "out of memory: a tensor of ", bytes,
        " bytes cannot be had");
  const int b = bin_of(bytes);
  const size_t size = backend.exact_memory ? bytes : bin_bytes(b);
  TensorPool& pool = tensor_pool(device);
  Block block{nullptr, current_stream(backend, device)};
  if (planned_failure())
    fail(ErrorKind::memory, "out of memory: allocating ", bytes, " bytes failed (planned by a test)");
  if (!backend.exact_memory) block.data = pool.take_cached(block.stream, b);
  if (!block.data) {
    system_calls.fetch_add(1, std::memory_order_relaxed);
    block.data = backend.allocate(size, device.index);
    if (!block.data) {
      empty_cache_of(device, backend);
      block.data = backend.allocate(size, device.index);
    }
    if (!block.data)
      fail(ErrorKind::memory, "out of memory: a tensor of ", bytes, " bytes could not be had on ", device);
  }
  std::lock_guard guard(pool.lock);
  pool.used += static_cast<int64_t>(size);
  if (pool.used > pool.peak) pool.peak = pool.used;
  return block;
}

void tensor_free(Block block, size_t bytes, Device device, uint32_t others) {
  if (!block.data) return;
  const Backend& backend = *find_backend(device.type);
  const int b = bin_of(bytes);
  const size_t size = backend.exact_memory ? bytes : bin_bytes(b);
  for (; others; others &= others - 1)
    backend.streams->order(device.index, backend.streams->handle(device.index, std::countr_zero(others)),
                           backend.streams->handle(device.index, block.stream));
  TensorPool& pool = tensor_pool(device);
  {
    std::lock_guard guard(pool.lock);
    pool.used -= static_cast<int64_t>(size);
    Bin* bins = backend.exact_memory ? nullptr : pool.bins_of(block.stream);
    if (bins && bins[b].push(block.data)) {
      pool.cached += static_cast<int64_t>(size);
      return;
    }
  }
  backend.release(block.data, size, device.index);
}

void empty_cache(Device device) {
  // Where nothing is kept no backend is asked for, lest the question alone loads one.
  if (memory_stats(device).cached > 0) empty_cache_of(device, *find_backend(device.type));
}
void empty_cache() {
  for (const DeviceType type : {DeviceType::cpu, DeviceType::cuda})
    for (int i = 0; i < kMaxDevices; ++i) empty_cache({type, static_cast<int8_t>(i)});
}

MemoryStats memory_stats(Device device) {
  TensorPool& pool = tensor_pool(device);
  std::lock_guard guard(pool.lock);
  return {pool.used, pool.cached, pool.peak, system_calls.load() + pool.system_calls};
}

void reset_peak_memory(Device device) {
  TensorPool& pool = tensor_pool(device);
  std::lock_guard guard(pool.lock);
  pool.peak = pool.used;
}

void fail_allocation_after(int64_t n) { fail_after.store(n); }

void print(std::string& out, Device device) {
  out += device.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace fastnn
