// Memory of the emulated devices: a range of addresses with a cell per byte that tells whether the byte
// belongs to somebody, and who touched it last.
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {

constexpr int kMaxDevices = 8;  // as the backends have
constexpr size_t kArenaBytes = size_t{8} << 30;
// Freed memory is taken up again late, but not so late that all of the arena becomes resident.
constexpr size_t kWindow = size_t{1} << 20;
constexpr size_t kAlign = 256;  // as cudaMalloc

struct Device {
  Region region;
  char* alias;
  std::map<uintptr_t, size_t> live, freed;
  uintptr_t next, top;  // where the search for room begins; no allocation reaches beyond
  size_t used;
  bool open;  // a launch runs

  char* reach(const void* p) const { return alias + (reinterpret_cast<uintptr_t>(p) - region.begin); }
};

namespace {
std::mutex memory_lock;
Device devices[kMaxDevices];
}  // namespace

int device_count() {
  static const int count = [] {
    const char* s = getenv("FASTNN_EMULATOR_DEVICES");
    const int n = s ? atoi(s) : 2;
    return n < 0 ? 0 : n > kMaxDevices ? kMaxDevices : n;
  }();
  return count;
}

void* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

namespace {

// Gives whole pages back; they read as zero (poison, for cells) afterwards.
void drop(void* p, size_t n, int advice) {
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(p), from = (begin + kPage - 1) & ~(kPage - 1),
             to = (begin + n) & ~(kPage - 1);
  if (n < 16 * kPage || from >= to || madvise(reinterpret_cast<void*>(from), to - from, advice)) {
    memset(p, 0, n);
    return;
  }
  memset(p, 0, from - begin);
  memset(reinterpret_cast<void*>(to), 0, begin + n - to);
}

uintptr_t first_of(const Device& d) { return d.region.begin + kAlign; }

// The first gap of `bytes` and a red zone at or above `from` that ends below `end`, or 0.
uintptr_t find_gap(const Device& d, size_t bytes, uintptr_t from, uintptr_t end) {
  for (auto above = d.live.lower_bound(from);; ++above) {
    const bool last = above == d.live.end();
    const uintptr_t limit = last || above->first > end ? end : above->first;
    if (from + bytes + kAlign <= limit) return from;
    if (last || limit == end) return 0;
    from = (above->first + above->second + 2 * kAlign - 1) / kAlign * kAlign;
  }
}

// Next fit, so that stale pointers meet freed memory for long.
uintptr_t find_room(const Device& d, size_t bytes) {
  const uintptr_t end = d.region.begin + d.region.bytes, window = first_of(d) + kWindow + 2 * d.used;
  const uintptr_t soft_end = window < end ? window : end;
  if (const uintptr_t at = find_gap(d, bytes, d.next, soft_end)) return at;
  if (const uintptr_t at = find_gap(d, bytes, first_of(d), soft_end)) return at;
  return find_gap(d, bytes, first_of(d), end);
}

}  // namespace

bool Region::map(void* memory, size_t size) {
  void* cells[3];
  for (void*& c : cells) c = reserve(8 * size);
  void* codes[2];
  for (void*& c : codes) c = reserve(size);
  if (!memory || !cells[0] || !cells[1] || !cells[2] || !codes[0] || !codes[1]) return false;
  written = static_cast<uint64_t*>(cells[0]);
  read = static_cast<uint64_t*>(cells[1]);
  atomic = static_cast<uint64_t*>(cells[2]);
  writer_code = static_cast<int32_t*>(codes[0]);
  reader_code = static_cast<int32_t*>(codes[1]);
  begin = reinterpret_cast<uintptr_t>(memory);
  bytes = size;
  return true;
}

void Region::mark(uintptr_t a, size_t n, uint64_t state) {
  uint64_t* cells = written + (a - begin);
  if (state == kPoison) {
    drop(cells, n * sizeof *cells, MADV_DONTNEED);
    return;
  }
  for (size_t i = 0; i < n; ++i) cells[i] = state;
}

namespace {

bool owns(const Device& d, const void* p, size_t n) {
  const auto a = reinterpret_cast<uintptr_t>(p);
  auto it = d.live.upper_bound(a);
  return it != d.live.begin() && a + n <= (--it)->first + it->second;
}

// The memory twice: at the addresses that kernels use, and as the emulator itself reaches it.
bool map_device(Device& d) {
  const int file = memfd_create("fastnn_emulator", MFD_CLOEXEC);
  if (file < 0) return false;
  void* memory = MAP_FAILED;
  void* alias = MAP_FAILED;
  if (ftruncate(file, kArenaBytes) == 0) {
    memory = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
    alias = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  }
  close(file);
  if (memory == MAP_FAILED || alias == MAP_FAILED || !d.region.map(memory, kArenaBytes)) return false;
  d.alias = static_cast<char*>(alias);
  d.next = d.top = first_of(d);
  return true;
}

}  // namespace

Device* device(int index) {
  if (index < 0 || index >= device_count()) return nullptr;
  std::lock_guard<std::mutex> lock(memory_lock);
  Device& d = devices[index];
  return d.region.begin || map_device(d) ? &d : nullptr;
}

// Outside of launches a device's memory is out of reach: a host that follows a device's pointer meets
// SIGSEGV, as it would with a real device.
void open_device(Device& d) {
  std::lock_guard<std::mutex> lock(memory_lock);
  d.open = true;
  mprotect(reinterpret_cast<void*>(d.region.begin), d.top - d.region.begin, PROT_READ | PROT_WRITE);
}
void close_device(Device& d) {
  std::lock_guard<std::mutex> lock(memory_lock);
  d.open = false;
  mprotect(reinterpret_cast<void*>(d.region.begin), d.top - d.region.begin, PROT_NONE);
}

int capability() {
  static const int value = [] {
    const char* s = getenv("FASTNN_EMULATOR_CAPABILITY");
    return s ? atoi(s) : 80;
  }();
  return value;
}
// CUDA C++ Programming Guide, "Compute Capabilities".
size_t most_shared_bytes() {
  const int c = capability();
  const size_t kib = c >= 90 && c < 120 ? 227 : c == 86 || c == 89 || c >= 120 ? 99 : c >= 80 ? 163 : 64;
  return kib << 10;
}
const Region& region(const Device& d) { return d.region; }
int device_containing(uintptr_t a) {
  for (int i = 0; i < kMaxDevices; ++i)
    if (devices[i].region.contains(a)) return i;
  return -1;
}

void* allocate(int index, size_t bytes) {
  Device* d = device(index);
  if (!d || bytes > kArenaBytes / 2) return nullptr;
  std::lock_guard<std::mutex> lock(memory_lock);
  const uintptr_t at = find_room(*d, bytes), end = (at + bytes + 2 * kAlign - 1) / kAlign * kAlign;
  if (!at) return nullptr;
  auto stale = d->freed.lower_bound(at);
  while (stale != d->freed.end() && stale->first < end) stale = d->freed.erase(stale);
  d->live[at] = bytes;
  d->next = end;
  if (d->top < end) {  // in steps, for what is accessible grows with it
    constexpr uintptr_t kStep = size_t{1} << 20;
    d->top = d->region.begin + (end - d->region.begin + kStep - 1) / kStep * kStep;
    if (d->open)
      mprotect(reinterpret_cast<void*>(d->region.begin), d->top - d->region.begin, PROT_READ | PROT_WRITE);
  }
  d->used += bytes;
  auto* p = reinterpret_cast<void*>(at);
  d->region.mark(at, bytes, kUnwritten);
  memset(d->reach(p), 0xFF, bytes);
  return p;
}

void release(int index, void* p) {
  Device* d = device(index);
  if (!d || !p) return;
  std::lock_guard<std::mutex> lock(memory_lock);
  const auto it = d->live.find(reinterpret_cast<uintptr_t>(p));
  if (it == d->live.end()) {
    record("memory was released that the device does not have");
    return;
  }
  d->region.mark(it->first, it->second, kPoison);
  drop(d->reach(p), it->second, MADV_REMOVE);
  d->used -= it->second;
  d->freed[it->first] = it->second;
  d->live.erase(it);
}

bool copy(void* dst, int to, const void* src, int from, size_t bytes) {
  if (!bytes) return true;
  Device *d = device(to), *s = device(from);
  std::lock_guard<std::mutex> lock(memory_lock);
  for (const bool destination : {true, false}) {
    const int index = destination ? to : from;
    const Device* at = destination ? d : s;
    if (index < 0 || (at && owns(*at, destination ? dst : src, bytes))) continue;
    char text[200];
    snprintf(text, sizeof text,
             "a copy of %zu bytes: the %s %p is not in an allocation of device %d of that size", bytes,
             destination ? "destination" : "source", destination ? dst : src, index);
    record(text);
    return false;
  }
  memmove(d ? d->reach(dst) : dst, s ? s->reach(src) : src, bytes);
  if (d) d->region.mark(reinterpret_cast<uintptr_t>(dst), bytes, kByHost);
  return true;
}

size_t memory_bytes() { return kArenaBytes; }
size_t free_memory_bytes(int index) {
  Device* d = device(index);
  std::lock_guard<std::mutex> lock(memory_lock);
  return d ? kArenaBytes - d->used : 0;
}

void describe_device(const Device& d, uintptr_t a, char* text, size_t size) {
  std::lock_guard<std::mutex> lock(memory_lock);
  auto inside = [a](const std::map<uintptr_t, size_t>& map) {
    auto it = map.upper_bound(a);
    return it == map.begin() ? map.end() : --it;
  };
  const auto live = inside(d.live), freed = inside(d.freed);
  if (freed != d.freed.end() && a < freed->first + freed->second) {
    snprintf(text, size, "freed allocation of %zu bytes + %zu", freed->second, size_t(a - freed->first));
    return;
  }
  const auto above = d.live.upper_bound(a);
  if (above != d.live.end() && above->first - a <= kAlign &&
      (live == d.live.end() || a - live->first - live->second > above->first - a)) {
    snprintf(text, size, "allocation of %zu bytes - %zu", above->second, size_t(above->first - a));
    return;
  }
  if (live == d.live.end()) {
    snprintf(text, size, "an address below all allocations");
    return;
  }
  snprintf(text, size, "allocation of %zu bytes + %zu", live->second, size_t(a - live->first));
}

}  // namespace fastnn::emulator
