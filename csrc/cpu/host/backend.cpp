// The CPU as a backend: memory, one context per calling thread, the kernel table of the chosen instruction
// set.
#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/host/cache_size.h"
#include "cpu/host/dispatch.h"
#include "cpu/host/thread_pool.h"

namespace fastnn {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kHugePage = size_t{2} << 20;

void* allocate(size_t bytes, int) {
  if (kExactMemory) {
    void* exact = nullptr;
    return posix_memalign(&exact, kAlign, bytes) == 0 ? exact : nullptr;
  }
  const size_t align = bytes >= 2 * kHugePage ? kHugePage : kAlign;
  void* p = aligned_alloc(align, (bytes + align - 1) / align * align);
  if (p && align == kHugePage) madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}
void release(void* p, size_t, int) { free(p); }
Status copy(void* dst, int, const void* src, int, size_t bytes, bool) {
  memcpy(dst, src, bytes);
  return Status::ok;
}
Status synchronize(int) { return Status::ok; }

const std::atomic<bool> never{false};

struct ThreadContext : Context {
  BadIndex note{};
  ThreadContext() {
    cancel = &never;
    run_tasks = fastnn::run_tasks;
    l2 = l2_bytes();
    bad_index = &note;
  }
  ~ThreadContext() { free(scratch); }
};

Context& context(int) {
  thread_local ThreadContext ctx;
  ctx.threads = num_threads();
  return ctx;
}

bool take_bad_index(int, BadIndex* note) {
  BadIndex& left = *context(0).bad_index;
  if (left.taken == 0) return false;
  *note = left;
  left.taken = 0;
  return true;
}

bool reserve(Context& ctx, size_t bytes) {
  free(ctx.scratch);
  const size_t grown = kExactMemory ? bytes : bytes + bytes / 4;
  ctx.scratch = static_cast<char*>(allocate(grown, 0));
  ctx.scratch_bytes = ctx.scratch ? grown : 0;
  return ctx.scratch != nullptr;
}

}  // namespace

const Backend& cpu_backend() {
  static const Kernels& kernels = []() -> const Kernels& {
    static Kernels table{};
    current_isa().fill(table);
    return table;
  }();
  static const Backend backend{.abi = FASTNN_ABI,
                               .name = "cpu",
                               .kernels = &kernels,
                               .exact_memory = kExactMemory,
                               .device_count = [] { return 1; },
                               .allocate = allocate,
                               .release = release,
                               .copy = copy,
                               .synchronize = synchronize,
                               .context = context,
                               .reserve = reserve,
                               .error = [] { return "no reason was given"; },
                               .take_bad_index = take_bad_index,
                               .expect = nullptr,
                               .streams = nullptr};
  return backend;
}

}  // namespace fastnn
