// What the emulator's own files share. They are compiled without instrumentation.
#pragma once
#define FASTNN_EMULATOR_RUNTIME
#include <stdio.h>

#include "cuda/emulator/emulator.h"

namespace fastnn::emulator {

constexpr int kLanes = 32, kMaxThreads = 1024, kMaxWarps = kMaxThreads / kLanes;

// ---- stamps: who touched a byte, and when in terms of barriers.
//
// From the high bits: block epoch (32), warp epoch (20), kind (2), thread (10). The block epoch counts, over
// the whole process, barriers and beginnings of blocks, so that it also tells launches and blocks apart. The
// warp epoch counts the barriers of a warp since the last one of its block.
enum Kind : uint64_t { kOne, kWarp, kWarps, kBlocks };  // threads of a summary: one, several in a warp, ...
constexpr int kKindShift = 10, kWarpEpochShift = 12, kEpochShift = 32;
constexpr uint64_t kMaxWarpEpoch = (1u << 20) - 1;
constexpr uint64_t kPoison = 0, kUnwritten = 1, kPending = 2,
                   kByHost = 3;  // in place of a writer; their epoch is 0

constexpr uint64_t epoch_of(uint64_t stamp) { return stamp >> kEpochShift; }
constexpr uint64_t warp_epoch_of(uint64_t stamp) { return stamp >> kWarpEpochShift & kMaxWarpEpoch; }
constexpr Kind kind_of(uint64_t stamp) { return static_cast<Kind>(stamp >> kKindShift & 3); }
constexpr unsigned thread_of(uint64_t stamp) { return static_cast<unsigned>(stamp & (kMaxThreads - 1)); }

// A range of memory with one cell per byte (per 4 bytes for code addresses, which are only for the text).
struct Region {
  uintptr_t begin = 0, bytes = 0;
  uint64_t *written = nullptr, *read = nullptr, *atomic = nullptr;
  int32_t *writer_code = nullptr, *reader_code = nullptr;

  bool contains(uintptr_t a) const { return a - begin < bytes; }
  bool map(void* memory, size_t size);
  void mark(uintptr_t a, size_t n, uint64_t state);  // one of those above
};

void* reserve(size_t bytes);  // address space, zero where it is touched; null when there is none
bool map_shared(Region& g);

struct Device;              // memory.cpp
Device* device(int index);  // null where there is none
const Region& region(const Device& d);
void open_device(Device& d);  // for a launch
void close_device(Device& d);
size_t memory_bytes();
size_t free_memory_bytes(int device);
int capability();
size_t most_shared_bytes();  // a block's
void describe_device(const Device& d, uintptr_t a, char* text, size_t size);
int device_containing(uintptr_t a);  // -1: none

// ---- threads

struct Arrival {  // at a collective of the warp
  const char* name = nullptr;
  unsigned mask = 0;
  Site site{};
  void* payload = nullptr;
};
enum class State : uint8_t { ready, at_barrier, at_collective, done };

struct Fiber {
  void* sp;
  uintptr_t stack;
  uint3 index;
  unsigned thread;
  State state;
  Arrival arrival;
  unsigned groups;    // of asynchronous copies, committed
  uint64_t fenced;    // its stamp at its last fence in this block, 0: none
  uintptr_t seen_at;  // where its last atomic access since was, 0: none
  size_t seen;        // how much had been released there then
  unsigned warp() const { return thread / kLanes; }
  unsigned lane() const { return thread % kLanes; }
};

struct Collective {
  unsigned mask, arrived;
  unsigned first;  // thread
};
struct Warp {
  unsigned exists, ready;
  uint64_t epoch;
  int open;
  Collective collectives[kLanes];
};
struct Piece {
  unsigned offset;
  size_t bytes, exact;
  uintptr_t at;
};
constexpr int kMaxPieces = 32;

struct Machine {
  const char* kernel;
  dim3 grid, block;
  uint3 block_index;
  size_t shared_bytes;
  Body body;
  const void* closure;
  Device* on;

  unsigned threads, warps, alive;
  Fiber fibers[kMaxThreads];
  Warp warp[kMaxWarps];
  unsigned warps_ready;
  Fiber* current;
  Fiber* laggard;  // runs when nobody else can
  int policy;
  uint64_t random_state;
  void* host_sp;
  bool failed, atomics_used;
  unsigned spins;

  uint64_t epoch, launch_floor, block_floor;

  unsigned at_barrier;
  Fiber* barrier_first;
  Barrier barrier_kind;
  Site barrier_site;
  int barrier_count, barrier_result;

  Region shared;
  Piece pieces[kMaxPieces];
  int known_pieces, taken_pieces;
  uintptr_t pieces_end;
};
extern Machine machine;

// What the access callbacks look at first. For host code everything is its own stack.
struct Running {
  uintptr_t stack, stack_bytes;
  uint64_t stamp;
};
extern __thread Running running __attribute__((tls_model("initial-exec")));
inline bool in_kernel() { return running.stack != 0; }

uint64_t draw();  // from the launch's generator
void make_ready(Fiber& f);
void wait(Fiber& self);   // switches to another thread; returns when this one is ready and chosen
void yield(Fiber& self);  // lets others go first
void new_epoch_for_warp(Warp& w);

// Waits until all lanes of the mask are there; the last one calls complete(first fiber of the warp, mask).
using Complete = void (*)(Fiber* lanes, unsigned mask);
void collect(const Arrival& arrival, Complete complete);

// ---- accesses
enum class Access { read, write, atomic };
void check_access(uintptr_t a, size_t n, Access access, uintptr_t code);
bool is_constant(uintptr_t a, size_t n);

// ---- operands (operands.cpp)
// Null where [a, a + n) of g lies in operands that allow the access or nothing is expected, else what is
// wrong with it.
const char* unexpected(const Region& g, uintptr_t a, size_t n, Access access);

// ---- order between blocks (order.cpp)
bool acquired(uint64_t stamp);  // whether another block's access comes before the running thread's next
void atomic_seen(uintptr_t a);  // the running thread has made an atomic access
void forget_order();            // at the beginning of a launch
void forget_acquired();         // of a block

// ---- asynchronous copies (async.cpp)
void finish_copies(Fiber& self);  // at a thread's end
void maybe_copy_some(Fiber& self);
void forget_copies();  // what a fault has left

// ---- faults
[[noreturn]] __attribute__((format(printf, 1, 2))) void fault(const char* format, ...);
[[noreturn]] __attribute__((format(printf, 2, 3))) void fault_in(const Fiber& f, const char* format, ...);
[[noreturn]] void fault_stuck();
void record(const char* text);                                // a fault outside a kernel
void describe(uintptr_t a, char* text, size_t size);          // an address in memory's terms
void describe_code(uintptr_t code, char* text, size_t size);  // " (libx.so+0x12)"
void describe_thread(unsigned thread, char* text, size_t size);
const char* file_name(const char* path);
uintptr_t code_base();  // code addresses are kept relative to it, in 32 bits

// ---- stacks (fiber.cpp)
constexpr size_t kStackBytes = 128 << 10;
bool map_stacks();
uintptr_t stack_of(unsigned thread);
bool in_stacks(uintptr_t a);
void prepare(Fiber& f, void (*entry)());
extern "C" void fastnn_emulator_switch(void** save_sp, void* load_sp);

}  // namespace fastnn::emulator
