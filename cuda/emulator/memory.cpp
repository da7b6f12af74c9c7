// Memory of the emulated devices and of a block: a range of addresses with a cell per byte that tells whether
// the byte belongs to somebody, and who touched it last.
#include <link.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <mutex>

#include "runtime.h"

namespace fastnn::emulator {

constexpr int kMaxDevices = 8;
constexpr size_t kArenaBytes = size_t{8} << 30;
constexpr size_t kAlign = 256;  // as cudaMalloc

struct Device {
  int index;
  Region region;
  std::map<uintptr_t, size_t> live, freed;
  uintptr_t next;
  size_t used;
};

namespace {

std::mutex memory_lock;
Device devices[kMaxDevices];

int device_count() {
  static const int count = [] {
    const char* s = getenv("FASTNN_EMULATOR_DEVICES");
    const int n = s ? atoi(s) : 2;
    return n < 0 ? 0 : n > kMaxDevices ? kMaxDevices : n;
  }();
  return count;
}

void* reserve(size_t bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

// Gives whole pages back; they read as zero (poison, for cells) afterwards.
void drop(void* p, size_t n) {
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(p), from = (begin + kPage - 1) & ~(kPage - 1),
             to = (begin + n) & ~(kPage - 1);
  if (n < 64 * kPage || from >= to || madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED)) {
    memset(p, 0, n);
    return;
  }
  memset(p, 0, from - begin);
  memset(reinterpret_cast<void*>(to), 0, begin + n - to);
}

// Next fit: memory is taken up again as late as possible, so that stale pointers meet freed memory.
uintptr_t find_room(Device& d, size_t bytes) {
  const uintptr_t first = d.region.begin + kAlign, end = d.region.begin + d.region.bytes;
  uintptr_t at = d.next;
  for (int turn = 0; turn < 2; ++turn, at = first) {
    auto above = d.live.lower_bound(at);
    for (;;) {
      const uintptr_t limit = above == d.live.end() ? end : above->first;
      if (at + bytes + kAlign <= limit) return at;
      if (above == d.live.end()) break;
      at = (above->first + above->second + 2 * kAlign - 1) / kAlign * kAlign;
      ++above;
    }
  }
  return 0;
}

// Ranges of the library that hold its constants: what the loader maps or makes read-only.
struct Ranges {
  struct {
    uintptr_t begin, end;
  } range[32];
  int count = 0;
};
int collect_constants(dl_phdr_info* info, size_t, void* arg) {
  auto& out = *static_cast<Ranges*>(arg);
  const auto self = reinterpret_cast<uintptr_t>(&collect_constants);
  bool own = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& p = info->dlpi_phdr[i];
    own |= p.p_type == PT_LOAD && self - (info->dlpi_addr + p.p_vaddr) < p.p_memsz;
  }
  if (!own) return 0;
  for (int i = 0; i < info->dlpi_phnum && out.count < 32; ++i) {
    const auto& p = info->dlpi_phdr[i];
    if ((p.p_type == PT_LOAD && !(p.p_flags & PF_W)) || p.p_type == PT_GNU_RELRO)
      out.range[out.count++] = {info->dlpi_addr + p.p_vaddr, info->dlpi_addr + p.p_vaddr + p.p_memsz};
  }
  return 1;
}

extern "C" char __start_fastnn_constant[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_fastnn_constant[] __attribute__((weak, visibility("hidden")));

}  // namespace

bool is_constant(uintptr_t a, size_t n) {
  static const Ranges constants = [] {
    Ranges r;
    dl_iterate_phdr(collect_constants, &r);
    return r;
  }();
  for (int i = 0; i < constants.count; ++i)
    if (a >= constants.range[i].begin && a + n <= constants.range[i].end) return true;
  return a >= reinterpret_cast<uintptr_t>(__start_fastnn_constant) &&
         a + n <= reinterpret_cast<uintptr_t>(__stop_fastnn_constant);
}

bool Region::map(size_t size, int protection) {
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  void* memory = reserve(size, protection);
  void* cells[3];
  for (void*& c : cells) c = reserve(8 * size, kReadWrite);
  void* codes[2];
  for (void*& c : codes) c = reserve(size, kReadWrite);
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
    drop(cells, n * sizeof *cells);
    return;
  }
  for (size_t i = 0; i < n; ++i) cells[i] = state;
}

Device* device(int index) {
  if (index < 0 || index >= device_count()) return nullptr;
  std::lock_guard<std::mutex> lock(memory_lock);
  Device& d = devices[index];
  if (!d.region.begin) {
    if (!d.region.map(kArenaBytes, PROT_READ | PROT_WRITE)) return nullptr;
    d.index = index;
    d.next = d.region.begin + kAlign;
  }
  return &d;
}
int capability() {
  static const int value = [] {
    const char* s = getenv("FASTNN_EMULATOR_CAPABILITY");
    return s ? atoi(s) : 80;
  }();
  return value;
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
  const uintptr_t at = find_room(*d, bytes);
  if (!at) return nullptr;
  auto stale = d->freed.lower_bound(at);
  while (stale != d->freed.end() && stale->first < at + bytes + kAlign) stale = d->freed.erase(stale);
  d->live[at] = bytes;
  d->next = (at + bytes + 2 * kAlign - 1) / kAlign * kAlign;
  d->used += bytes;
  auto* p = reinterpret_cast<void*>(at);
  d->region.mark(at, bytes, kUnwritten);
  memset(p, 0xFF, bytes);
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
  drop(p, it->second);
  d->used -= it->second;
  d->freed[it->first] = it->second;
  d->live.erase(it);
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

void* take_shared(unsigned* offset, size_t bytes, size_t exact) {
  Machine& m = machine;
  constexpr size_t kRedZone = 256;
  const unsigned from = *offset;
  *offset += static_cast<unsigned>(bytes);
  if (!exact) return reinterpret_cast<void*>(m.shared.begin);
  for (int i = 0; i < m.taken_pieces; ++i) {
    const Piece& p = m.pieces[i];
    if (p.offset != from) continue;
    if (p.bytes != bytes || p.exact != exact)
      fault("it takes %zu bytes of shared memory at offset %u, where another thread took %zu", exact, from,
            p.exact);
    return reinterpret_cast<void*>(p.at);
  }
  const Piece* last = m.taken_pieces ? &m.pieces[m.taken_pieces - 1] : nullptr;
  if (from != (last ? last->offset + last->bytes : 0))
    fault("it takes shared memory at offset %u, which is not where another thread's piece begins", from);
  if (from + bytes > m.shared_bytes)
    fault("it takes shared memory up to byte %zu, but the launch gave it %zu", from + bytes, m.shared_bytes);
  if (m.taken_pieces == kMaxPieces) fault("it takes more than %d pieces of shared memory", kMaxPieces);
  const uintptr_t at = (last ? last->at + last->bytes : m.shared.begin) + kRedZone;
  Piece& p = m.pieces[m.taken_pieces];
  const bool known =
      m.taken_pieces < m.known_pieces && p.offset == from && p.bytes == bytes && p.exact == exact;
  if (!known) {  // an earlier block took nothing like it
    if (m.pieces_end > at) m.shared.mark(at, m.pieces_end - at, kPoison);
    p = {from, bytes, exact, at};
    m.shared.mark(at, exact, kUnwritten);
    m.pieces_end = at + bytes;
    m.known_pieces = m.taken_pieces + 1;
  }
  ++m.taken_pieces;
  return reinterpret_cast<void*>(at);
}

}  // namespace fastnn::emulator
