// Order between the blocks of a launch, as the CUDA memory model has it: a fence and then an atomic access
// release what came before, an atomic access to the same place and then a fence acquire it. Blocks run one
// after another, so what a block releases is all its accesses up to the barrier before the fence, and those
// of the thread that fenced since.
#include <map>
#include <vector>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

struct Released {
  uint64_t first, last;  // epochs of the block; of the last one only `thread`'s accesses
  unsigned thread;
};
struct Acquired : Released {
  uint64_t since;  // epoch of the fence, in which only `by` knows of it
  unsigned by;
};

std::map<uintptr_t, std::vector<Released>> released;  // of this launch, in the order of time
std::vector<Acquired> all_acquired;                   // by this block

}  // namespace

void fence() {
  Fiber& f = *machine.current;
  const uint64_t now = running.stamp;
  if (f.seen_at) {
    const auto& there = released[f.seen_at];
    for (size_t i = 0; i < f.seen; ++i) all_acquired.push_back({there[i], epoch_of(now), f.thread});
    f.seen_at = 0;
  }
  f.fenced = now;
}

void atomic_seen(uintptr_t a) {
  Fiber& f = *machine.current;
  auto& there = released[a];
  f.seen_at = a;
  f.seen = there.size();
  if (f.fenced) there.push_back({machine.block_floor, epoch_of(f.fenced), f.thread});
}

bool acquired(uint64_t stamp) {
  const uint64_t epoch = epoch_of(stamp), now = running.stamp;
  for (const Acquired& a : all_acquired) {
    if (epoch < a.first || epoch > a.last) continue;
    if (epoch == a.last && (kind_of(stamp) != kOne || thread_of(stamp) != a.thread)) continue;
    if (epoch_of(now) > a.since || thread_of(now) == a.by) return true;
  }
  return false;
}

void forget_order() { released.clear(); }
void forget_acquired() { all_acquired.clear(); }

}  // namespace fastnn::emulator
