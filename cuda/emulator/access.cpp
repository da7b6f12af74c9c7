// Every access of a kernel to memory: whose is it, is it there, is it ordered with the others? The compiler
// calls the functions at the end.
#include "cuda/emulator/runtime.h"

#define CODE reinterpret_cast<uintptr_t>(__builtin_return_address(0))

namespace fastnn::emulator {
namespace {

// Does what the stamp tells of happen before the running thread's next access, or is it its own? `floor` is
// the epoch from which on accesses count at all.
inline bool ordered(uint64_t stamp, uint64_t floor) {
  const uint64_t epoch = epoch_of(stamp), now = running.stamp;
  if (epoch < floor) return true;
  if (kind_of(stamp) == kBlocks) return false;
  if (epoch < machine.block_floor) return acquired(stamp);
  if (epoch < epoch_of(now)) return true;
  if (kind_of(stamp) == kWarps || (thread_of(stamp) ^ thread_of(now)) >= kLanes) return false;
  if (kind_of(stamp) == kOne && thread_of(stamp) == thread_of(now)) return true;
  return warp_epoch_of(stamp) < warp_epoch_of(now);
}

// The summary of readers (or of atomic accesses) with the running thread among them. Accesses that are
// ordered before this one are forgotten: whoever races with them races with this one too, or is ordered after
// it.
inline uint64_t joined(uint64_t stamp, uint64_t floor) {
  const uint64_t epoch = epoch_of(stamp), now = running.stamp;
  const auto as = [now](Kind kind) {
    return (now & ~(uint64_t{3} << kKindShift)) | uint64_t{kind} << kKindShift;
  };
  if (epoch < floor) return now;
  if (epoch < machine.block_floor || kind_of(stamp) == kBlocks) return as(kBlocks);
  if (epoch < epoch_of(now)) return now;
  if (kind_of(stamp) == kWarps) return stamp;
  if ((thread_of(stamp) ^ thread_of(now)) >= kLanes) return as(kWarps);
  if (warp_epoch_of(stamp) < warp_epoch_of(now)) return now;
  if (kind_of(stamp) == kOne && thread_of(stamp) == thread_of(now)) return now;
  return as(kWarp);
}

const char* verb(Access access) {
  return access == Access::read ? "read" : access == Access::write ? "write" : "atomic access";
}

[[noreturn]] void bad_access(const char* what, uintptr_t a, size_t n, Access access, uintptr_t code) {
  char where[300], by[200];
  describe(a, where, sizeof where);
  describe_code(code, by, sizeof by);
  fault("%s: %s of %zu byte%s at %s%s", what, verb(access), n, n == 1 ? "" : "s", where, by);
}

[[noreturn]] void race(uint64_t stamp, const char* earlier, int32_t earlier_code, uintptr_t a, size_t n,
                       Access access, uintptr_t code) {
  char where[300], by[200], other[64], other_code[200];
  describe(a, where, sizeof where);
  describe_code(code, by, sizeof by);
  describe_thread(thread_of(stamp), other, sizeof other);
  describe_code(code_base() + static_cast<intptr_t>(earlier_code), other_code, sizeof other_code);
  const bool this_block = epoch_of(stamp) >= machine.block_floor;
  fault("race: %s of %zu byte%s at %s%s against the %s by thread %s of %s%s%s, with no barrier between",
        verb(access), n, n == 1 ? "" : "s", where, by, earlier, other,
        this_block ? "the same block" : "another block", kind_of(stamp) == kOne ? "" : " among others",
        other_code);
}

// kPoison, kUnwritten, kPending have epoch 0: below every floor.
[[noreturn]] void bad_state(uint64_t state, uintptr_t a, size_t n, Access access, uintptr_t code) {
  if (state == kPoison) bad_access("out of bounds", a, n, access, code);
  if (state == kPending)
    bad_access("the destination of an asynchronous copy, touched before its wait", a, n, access, code);
  bad_access(machine.shared.contains(a) ? "shared memory that this block has not written"
                                        : "device memory that nobody has written",
             a, n, access, code);
}

template <Access access>
inline void check_region(const Region& g, bool shared, uintptr_t a, size_t n, uintptr_t code) {
  const size_t at = a - g.begin;
  const uint64_t floor = shared ? machine.block_floor : machine.launch_floor, now = running.stamp;
  const bool atomics = machine.atomics_used;
  uint64_t fine_write = ~uint64_t{0}, fine_read = 0;
  for (size_t i = at; i < at + n; ++i) {
    const uint64_t w = g.written[i];
    if (w != fine_write) {
      if (w == kPoison || w == kPending) bad_state(w, g.begin + i, at + n - i, access, code);
      if (access != Access::write && (shared ? epoch_of(w) < floor : w == kUnwritten))
        bad_state(kUnwritten, g.begin + i, at + n - i, access, code);
      if (!ordered(w, floor)) race(w, "write", g.writer_code[i / 4], g.begin + i, at + n - i, access, code);
      fine_write = w;
    }
    if (atomics && access != Access::atomic && !ordered(g.atomic[i], floor))
      race(g.atomic[i], "atomic access", g.writer_code[i / 4], g.begin + i, at + n - i, access, code);
    const uint64_t r = g.read[i];
    if constexpr (access == Access::read) {
      if (r != now) g.read[i] = joined(r, floor);
    } else if (r != fine_read) {
      if (!ordered(r, floor)) race(r, "read", g.reader_code[i / 4], g.begin + i, at + n - i, access, code);
      fine_read = r;
    }
    if constexpr (access == Access::write) {
      g.written[i] = now;
      g.read[i] = 0;
      if (atomics) g.atomic[i] = 0;
    }
    if constexpr (access == Access::atomic) g.atomic[i] = joined(g.atomic[i], floor);
  }
  int32_t* codes = access == Access::read ? g.reader_code : g.writer_code;
  const int32_t relative = static_cast<int32_t>(code - code_base());
  for (size_t i = at / 4; i <= (at + n - 1) / 4; ++i) codes[i] = relative;
}

template <Access access>
void check(uintptr_t a, size_t n, uintptr_t code) {
  const Machine& m = machine;
  if (m.shared.contains(a)) return check_region<access>(m.shared, true, a, n, code);
  const Region& g = region(*m.on);
  if (g.contains(a)) {
    check_region<access>(g, false, a, n, code);
    if (const char* what = unexpected(g, a, n, access)) bad_access(what, a, n, access, code);
    return;
  }
  if (access == Access::read && is_constant(a, n)) return;
  if (in_stacks(a)) bad_access("another thread's memory", a, n, access, code);
  if (device_containing(a) >= 0) bad_access("memory of another device", a, n, access, code);
  bad_access(a < 4096 ? "null pointer" : "access to host memory", a, n, access, code);
}

template <Access access>
inline void touch(const void* p, size_t n, uintptr_t code) {
  const auto a = reinterpret_cast<uintptr_t>(p);
  if (a - running.stack < running.stack_bytes) return;
  check<access>(a, n, code);
}
template <Access access, size_t n>
inline void touch_aligned(const void* p, uintptr_t code) {
  const auto a = reinterpret_cast<uintptr_t>(p);
  if (a - running.stack < running.stack_bytes) return;
  if (a % n) bad_access("misaligned", a, n, access, code);
  check<access>(a, n, code);
}

template <class T>
uint64_t apply(Atomic op, T* p, T operand, T expected) {
  const T old = *p;
  switch (op) {
    case Atomic::add:
      *p = static_cast<T>(static_cast<uint64_t>(old) + static_cast<uint64_t>(operand));
      break;
    case Atomic::exchange:
      *p = operand;
      break;
    case Atomic::min:
      *p = operand < old ? operand : old;
      break;
    case Atomic::max:
      *p = operand > old ? operand : old;
      break;
    case Atomic::bit_and:
      *p = old & operand;
      break;
    case Atomic::bit_or:
      *p = old | operand;
      break;
    case Atomic::bit_xor:
      *p = old ^ operand;
      break;
    case Atomic::compare_and_swap:
      if (old == expected) *p = operand;
  }
  return static_cast<uint64_t>(old);
}

}  // namespace

void check_access(uintptr_t a, size_t n, Access access, uintptr_t code) {
  const auto* p = reinterpret_cast<const void*>(a);
  if (access == Access::read)
    touch<Access::read>(p, n, code);
  else
    touch<Access::write>(p, n, code);
}

uint64_t atomic(Atomic op, void* p, int bytes, bool is_signed, uint64_t operand, uint64_t expected) {
  const auto a = reinterpret_cast<uintptr_t>(p);
  Machine& m = machine;
  if (a % static_cast<unsigned>(bytes)) bad_access("misaligned", a, bytes, Access::atomic, CODE);
  // Marks of earlier launches are below the floor; within this one nothing was marked before the flag.
  m.atomics_used = true;
  touch<Access::atomic>(p, static_cast<size_t>(bytes), CODE);
  uint64_t old;
  if (bytes == 4)
    old = is_signed ? apply<int32_t>(op, static_cast<int32_t*>(p), int32_t(operand), int32_t(expected))
                    : apply<uint32_t>(op, static_cast<uint32_t*>(p), uint32_t(operand), uint32_t(expected));
  else
    old = is_signed ? apply<int64_t>(op, static_cast<int64_t*>(p), int64_t(operand), int64_t(expected))
                    : apply<uint64_t>(op, static_cast<uint64_t*>(p), operand, expected);
  atomic_seen(a);
  constexpr unsigned kTooOften = 1'000'000;
  if (++m.spins > kTooOften) fault_stuck();
  yield(*m.current);
  return old;
}

}  // namespace fastnn::emulator

// ---- what instrumented code calls
using namespace fastnn::emulator;

#define FASTNN_ACCESS(n)                                                             \
  void __tsan_read##n(void* p) { touch_aligned<Access::read, n>(p, CODE); }          \
  void __tsan_write##n(void* p) { touch_aligned<Access::write, n>(p, CODE); }        \
  void __tsan_unaligned_read##n(void* p) { touch<Access::read>(p, n, CODE); }        \
  void __tsan_unaligned_write##n(void* p) { touch<Access::write>(p, n, CODE); }      \
  void __tsan_volatile_read##n(void* p) { touch_aligned<Access::read, n>(p, CODE); } \
  void __tsan_volatile_write##n(void* p) { touch_aligned<Access::write, n>(p, CODE); }

// Only host code has atomics of C++ (guards of local statics).
#define FASTNN_ATOMIC(bits, T)                                                                            \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) {                                             \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) {                                            \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                    \
  }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}
FASTNN_ACCESS(1)
FASTNN_ACCESS(2)
FASTNN_ACCESS(4)
FASTNN_ACCESS(8)
FASTNN_ACCESS(16)
void __tsan_read_range(void* p, size_t n) {
  if (n) touch<Access::read>(p, n, CODE);
}
void __tsan_write_range(void* p, size_t n) {
  if (n) touch<Access::write>(p, n, CODE);
}
FASTNN_ATOMIC(8, uint8_t)
FASTNN_ATOMIC(32, uint32_t)
FASTNN_ATOMIC(64, uint64_t)

void* fastnn_emulator_memcpy(void* to, const void* from, size_t n) {
  if (n) touch<Access::read>(from, n, CODE), touch<Access::write>(to, n, CODE);
  return memcpy(to, from, n);
}
void* fastnn_emulator_memmove(void* to, const void* from, size_t n) {
  if (n) touch<Access::read>(from, n, CODE), touch<Access::write>(to, n, CODE);
  return memmove(to, from, n);
}
void* fastnn_emulator_memset(void* to, int value, size_t n) {
  if (n) touch<Access::write>(to, n, CODE);
  return memset(to, value, n);
}
}
