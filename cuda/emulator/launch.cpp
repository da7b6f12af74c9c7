// Runs the blocks of a launch, and chooses which thread goes on.
#include <stdlib.h>

#include <mutex>
#include <numeric>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {

Machine machine;
__thread Running running = {0, ~uintptr_t{0}, 0};

namespace {

std::mutex one_launch;
uint64_t seed = [] {
  const char* s = getenv("FASTNN_EMULATOR_SEED");
  return s ? strtoull(s, nullptr, 0) : 0;
}();
uint64_t launches = 0;  // since the seed was set

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

unsigned some_bit(unsigned mask, unsigned where) {
  where &= 31;
  return (static_cast<unsigned>(__builtin_ctz(mask >> where | (where ? mask << (32 - where) : 0))) + where) &
         31;
}

enum Policy { kRandom, kOneWarp, kForward, kReverse, kLaggard, kPolicies };

Fiber& choose() {
  Machine& m = machine;
  unsigned w, lane;
  constexpr unsigned kPatience = 64;  // a thread that spins must not keep the one it waits for from running
  const int policy = m.spins > kPatience ? kRandom : m.policy;
  const uint64_t r = policy == kForward || policy == kReverse ? 0 : draw();
  switch (policy) {
    case kOneWarp:
      w = m.current && m.warps_ready >> m.current->warp() & 1 ? m.current->warp()
                                                              : some_bit(m.warps_ready, unsigned(r));
      lane = some_bit(m.warp[w].ready, unsigned(r >> 8));
      break;
    case kForward:
      w = static_cast<unsigned>(__builtin_ctz(m.warps_ready));
      lane = static_cast<unsigned>(__builtin_ctz(m.warp[w].ready));
      break;
    case kReverse:
      w = 31u - static_cast<unsigned>(__builtin_clz(m.warps_ready));
      lane = 31u - static_cast<unsigned>(__builtin_clz(m.warp[w].ready));
      break;
    default: {
      w = some_bit(m.warps_ready, unsigned(r));
      unsigned lanes = m.warp[w].ready;
      const Fiber* last = policy == kLaggard ? m.laggard : nullptr;
      if (last && last->warp() == w && lanes != 1u << last->lane()) lanes &= ~(1u << last->lane());
      if (last && last->warp() == w && lanes == 1u << last->lane() && m.warps_ready != 1u << w) {
        w = some_bit(m.warps_ready & ~(1u << w), unsigned(r >> 16));
        lanes = m.warp[w].ready;
      }
      lane = some_bit(lanes, unsigned(r >> 8));
    }
  }
  return m.fibers[w * kLanes + lane];
}

void enter(Fiber& f) {
  Machine& m = machine;
  Warp& w = m.warp[f.warp()];
  w.ready &= ~(1u << f.lane());
  if (!w.ready) m.warps_ready &= ~(1u << f.warp());
  m.current = &f;
  running.stack = f.stack;
  running.stamp = m.epoch << kEpochShift | w.epoch << kWarpEpochShift | f.thread;
}

void switch_from(void** save) {
  if (!machine.warps_ready) fault_stuck();
  Fiber& next = choose();
  enter(next);
  if (save != &next.sp) fastnn_emulator_switch(save, next.sp);
}

void thread_main() {
  Machine& m = machine;
  Fiber& self = *m.current;
  m.body(m.closure);
  finish_copies(self);
  self.state = State::done;
  m.spins = 0;
  void* nowhere;
  if (--m.alive == 0)
    fastnn_emulator_switch(&nowhere, m.host_sp);
  else
    switch_from(&nowhere);
  __builtin_unreachable();
}

void release_barrier() {
  Machine& m = machine;
  switch (m.barrier_kind) {
    case Barrier::all:
      m.barrier_result = m.barrier_count == static_cast<int>(m.threads);
      break;
    case Barrier::any:
      m.barrier_result = m.barrier_count != 0;
      break;
    default:
      m.barrier_result = m.barrier_count;
  }
  m.at_barrier = 0;
  m.barrier_count = 0;
  m.spins = 0;
  ++m.epoch;
  for (unsigned t = 0; t < m.threads; ++t) m.fibers[t].state = State::ready;
  for (unsigned w = 0; w < m.warps; ++w) {
    m.warp[w].ready = m.warp[w].exists;
    m.warp[w].epoch = 0;
  }
  m.warps_ready = m.warps == kMaxWarps ? ~0u : (1u << m.warps) - 1;
}

void start_block() {
  Machine& m = machine;
  m.block_floor = ++m.epoch;
  forget_acquired();
  m.alive = m.threads;
  m.at_barrier = 0;
  m.barrier_count = 0;
  m.taken_pieces = 0;
  m.spins = 0;
  m.policy = static_cast<int>(draw() % kPolicies);
  m.laggard = m.policy == kLaggard ? &m.fibers[draw() % m.threads] : nullptr;
  m.current = nullptr;
  for (unsigned t = 0; t < m.threads; ++t) {
    Fiber& f = m.fibers[t];
    f.state = State::ready;
    f.groups = 0;
    f.fenced = 0;
    f.seen_at = 0;
    prepare(f, thread_main);
  }
  for (unsigned w = 0; w < m.warps; ++w) {
    Warp& warp = m.warp[w];
    warp.ready = warp.exists;
    warp.epoch = 0;
    warp.open = 0;
  }
  m.warps_ready = m.warps == kMaxWarps ? ~0u : (1u << m.warps) - 1;
}

bool check_shape(const char* kernel, dim3 grid, dim3 block, size_t shared) {
  const size_t most = most_shared_bytes();
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads >= 1 && threads <= kMaxThreads && block.z <= 64 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
      grid.z <= 65535 && shared <= most)
    return true;
  char text[800];
  snprintf(text, sizeof text,
           "kernel %s: launched with a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads and %zu bytes of "
           "shared "
           "memory; "
           "at most 2^31-1 x 65535 x 65535 blocks of 1024 threads and %zu bytes can be had",
           kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, most);
  record(text);
  return false;
}

void set_up_threads() {
  Machine& m = machine;
  m.threads = m.block.x * m.block.y * m.block.z;
  m.warps = (m.threads + kLanes - 1) / kLanes;
  unsigned t = 0;
  for (unsigned z = 0; z < m.block.z; ++z)
    for (unsigned y = 0; y < m.block.y; ++y)
      for (unsigned x = 0; x < m.block.x; ++x, ++t) {
        Fiber& f = m.fibers[t];
        f.index = {x, y, z};
        f.thread = t;
        f.stack = stack_of(t);
      }
  for (unsigned w = 0; w < m.warps; ++w) {
    const unsigned lanes = m.threads - w * kLanes;
    m.warp[w].exists = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
  }
}

// The kernel's name in launch()'s signature: "[with auto Kernel = NAME; Args = ...", or clang's "[Kernel =
// &NAME, Args = ...".
void find_kernel_name(const char* signature, char* name, size_t size) {
  const char* begin = strstr(signature, "Kernel = ");
  begin = begin ? begin + 9 : signature;
  if (*begin == '&') ++begin;
  const char* end = strstr(begin, " Args = ");
  size_t n = end ? static_cast<size_t>(end - begin) - 1 : strlen(begin);
  if (n > size - 1) n = size - 1;
  memcpy(name, begin, n);
  name[n] = 0;
}

void run_all() {
  Machine& m = machine;
  const uint64_t blocks = uint64_t{m.grid.x} * m.grid.y * m.grid.z;
  // i -> first + i * step visits every block once when step and their number have no common factor.
  uint64_t step = 1, first = 0;
  if (blocks > 1) {
    step = draw() % (blocks - 1) + 1;
    while (std::gcd(step, blocks) != 1) ++step;
    first = draw() % blocks;
  }
  uint64_t at = first;
  for (uint64_t i = 0; i < blocks && !m.failed; ++i) {
    m.block_index = {static_cast<unsigned>(at % m.grid.x), static_cast<unsigned>(at / m.grid.x % m.grid.y),
                     static_cast<unsigned>(at / m.grid.x / m.grid.y)};
    at += step;
    if (at >= blocks) at -= blocks;
    start_block();
    switch_from(&m.host_sp);
  }
}

}  // namespace

uint64_t draw() { return mix(machine.random_state += 0x9E3779B97F4A7C15ull); }

void make_ready(Fiber& f) {
  f.state = State::ready;
  machine.warp[f.warp()].ready |= 1u << f.lane();
  machine.warps_ready |= 1u << f.warp();
}

void wait(Fiber& self) { switch_from(&self.sp); }

void yield(Fiber& self) {
  make_ready(self);
  wait(self);
}

int block_barrier(Barrier kind, int predicate, Site site) {
  Machine& m = machine;
  Fiber& self = *m.current;
  self.arrival = {kind == Barrier::plain ? "__syncthreads" : "__syncthreads_count/and/or", 0, site, nullptr};
  if (m.at_barrier++ == 0) {
    m.barrier_kind = kind;
    m.barrier_site = site;
    m.barrier_first = &self;
  } else if (kind != m.barrier_kind || site.line != m.barrier_site.line ||
             strcmp(site.file, m.barrier_site.file) != 0) {
    char first[64];
    describe_thread(m.barrier_first->thread, first, sizeof first);
    fault("divergent barrier: it has come to %s at %s:%d, while thread %s waits at %s at %s:%d",
          self.arrival.name, file_name(site.file), site.line, first, m.barrier_first->arrival.name,
          file_name(m.barrier_site.file), m.barrier_site.line);
  }
  self.state = State::at_barrier;
  m.barrier_count += predicate != 0;
  maybe_copy_some(self);
  if (m.at_barrier == m.threads) release_barrier();
  wait(self);
  return m.barrier_result;
}

uint3 thread_index() { return machine.current->index; }
uint3 block_index() { return machine.block_index; }
dim3 block_shape() { return machine.block; }
dim3 grid_shape() { return machine.grid; }

bool run_blocks(const char* name, int on, dim3 grid, dim3 block, size_t shared, Body body,
                const void* closure) {
  std::lock_guard<std::mutex> lock(one_launch);
  static char kernel[400];
  find_kernel_name(name, kernel, sizeof kernel);
  if (!check_shape(kernel, grid, block, shared)) return false;
  Machine& m = machine;
  m.on = device(on);
  if (!m.on || !map_stacks() || !map_shared(m.shared)) {
    record("the emulator could not map its memory");
    return false;
  }
  if (m.epoch > 0xF0000000u) {
    record("the emulator has counted all barriers it can: start a new process");
    return false;
  }
  m.kernel = kernel;
  m.grid = grid;
  m.block = block;
  m.shared_bytes = shared;
  m.body = body;
  m.closure = closure;
  m.failed = m.atomics_used = false;
  m.random_state = mix(seed + 1) ^ mix(++launches * 0x9E3779B97F4A7C15ull);
  m.launch_floor = m.epoch + 1;
  m.known_pieces = 0;
  if (m.pieces_end) m.shared.mark(m.shared.begin, m.pieces_end - m.shared.begin, kPoison);
  m.pieces_end = 0;
  set_up_threads();
  forget_copies();
  forget_order();
  const Running host = running;
  running.stack_bytes = kStackBytes;
  open_device(*m.on);
  run_all();
  close_device(*m.on);
  running = host;
  return !m.failed;
}

}  // namespace fastnn::emulator

// Launches since the seed was set, which a GPU would take some microseconds each for.
extern "C" __attribute__((visibility("default"))) uint64_t fastnn_emulator_launches() {
  const std::lock_guard<std::mutex> lock(fastnn::emulator::one_launch);
  return fastnn::emulator::launches;
}

extern "C" __attribute__((visibility("default"))) void fastnn_emulator_seed(uint64_t s) {
  using namespace fastnn::emulator;
  std::lock_guard<std::mutex> lock(one_launch);
  seed = s;
  launches = 0;
}
