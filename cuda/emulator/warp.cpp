// What the lanes of a warp do together: shuffles, votes, warp barriers.
#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

bool same_call(const Arrival& a, const Arrival& b) {
  return a.mask == b.mask && a.site.line == b.site.line && strcmp(a.name, b.name) == 0 &&
         strcmp(a.site.file, b.site.file) == 0;
}

// The collective that this lane's call belongs to: one that others opened, or a new one. Lanes may wait at
// others, but not each for the other.
Collective& join(Warp& warp, Fiber& self) {
  const unsigned mask = self.arrival.mask;
  for (int i = 0; i < warp.open; ++i) {
    Collective& c = warp.collectives[i];
    const Fiber& first = machine.fibers[c.first];
    if (same_call(first.arrival, self.arrival)) return c;
    if (!(c.arrived & mask) || !(c.mask >> self.lane() & 1)) continue;
    char text[64];
    describe_thread(first.thread, text, sizeof text);
    fault(
        "divergent warp: it has come to %s with mask 0x%08x at %s:%d, while thread %s waits at %s with mask "
        "0x%08x at %s:%d",
        self.arrival.name, mask, file_name(self.arrival.site.file), self.arrival.site.line, text,
        first.arrival.name, c.mask, file_name(first.arrival.site.file), first.arrival.site.line);
  }
  Collective& c = warp.collectives[warp.open++];
  c = {mask, 0, self.thread};
  return c;
}

struct ShufflePayload {
  uint64_t value;
  int source;
};

void complete_shuffle(Fiber* lanes, unsigned mask) {
  uint64_t values[kLanes];
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    values[lane] = static_cast<ShufflePayload*>(lanes[lane].arrival.payload)->value;
  }
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    auto* p = static_cast<ShufflePayload*>(lanes[lane].arrival.payload);
    if (!(mask >> p->source & 1))
      fault_in(lanes[lane], "%s at %s:%d takes the value of lane %d, which is not in the mask 0x%08x",
               lanes[lane].arrival.name, file_name(lanes[lane].arrival.site.file),
               lanes[lane].arrival.site.line, p->source, mask);
    p->value = values[p->source];
  }
}

struct VotePayload {
  int predicate;
  unsigned result;
};

void complete_vote(Fiber* lanes, unsigned mask) {
  unsigned result = 0;
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    if (static_cast<VotePayload*>(lanes[lane].arrival.payload)->predicate) result |= 1u << lane;
  }
  for (unsigned rest = mask; rest; rest &= rest - 1)
    static_cast<VotePayload*>(lanes[__builtin_ctz(rest)].arrival.payload)->result = result;
}

void complete_barrier(Fiber* lanes, unsigned mask) {
  Warp& warp = machine.warp[lanes->warp()];
  if (mask == warp.exists && ++warp.epoch > kMaxWarpEpoch)
    fault("more than %llu __syncwarp between two barriers of the block",
          static_cast<unsigned long long>(kMaxWarpEpoch));
}

}  // namespace

void collect(const Arrival& arrival, Complete complete) {
  Machine& m = machine;
  Fiber& self = *m.current;
  Warp& warp = m.warp[self.warp()];
  self.arrival = arrival;
  if (!(arrival.mask >> self.lane() & 1))
    fault("%s at %s:%d: lane %u is not in its mask 0x%08x", arrival.name, file_name(arrival.site.file),
          arrival.site.line, self.lane(), arrival.mask);
  Collective& c = join(warp, self);
  c.arrived |= 1u << self.lane();
  self.state = State::at_collective;
  const unsigned expected = c.mask & warp.exists;
  if (c.arrived == expected) {
    Fiber* lanes = &m.fibers[self.warp() * kLanes];
    complete(lanes, expected);
    c = warp.collectives[--warp.open];
    for (unsigned rest = expected; rest; rest &= rest - 1) lanes[__builtin_ctz(rest)].state = State::ready;
    warp.ready |= expected;
    m.warps_ready |= 1u << self.warp();
    m.spins = 0;
  }
  wait(self);
}

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int operand, int width, Site site) {
  constexpr const char* names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
  const char* name = names[static_cast<int>(kind)];
  const int lane = static_cast<int>(machine.current->lane());
  if (width <= 0 || width > kLanes || width & (width - 1))
    fault("%s at %s:%d: the width is %d, not a power of two up to 32", name, file_name(site.file), site.line,
          width);
  const int first = lane & ~(width - 1), end = first + width;
  int source = lane;
  switch (kind) {
    case Shuffle::index:
      source = first | (operand & (width - 1));
      break;
    case Shuffle::up:
      source = lane - operand < first ? lane : lane - operand;
      break;
    case Shuffle::down:
      source = lane + operand >= end ? lane : lane + operand;
      break;
    case Shuffle::butterfly:
      source = (lane ^ (operand & 31)) >= end ? lane : lane ^ (operand & 31);
      break;
  }
  ShufflePayload payload{value, source};
  collect({name, mask, site, &payload}, complete_shuffle);
  return payload.value;
}

unsigned ballot(const char* name, unsigned mask, int predicate, Site site) {
  VotePayload payload{predicate, 0};
  collect({name, mask, site, &payload}, complete_vote);
  return payload.result;
}

void warp_barrier(unsigned mask, Site site) {
  maybe_copy_some(*machine.current);
  collect({"__syncwarp", mask, site, nullptr}, complete_barrier);
}

}  // namespace fastnn::emulator
