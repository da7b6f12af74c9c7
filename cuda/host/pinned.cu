// Pinned memory. Asking the system for it takes milliseconds, and what is given back may still be read by a
// copy that is queued. So it rests behind an event on every stream that may know of it, and serves again once
// they are over.
#include <algorithm>
#include <bit>
#include <vector>

#include "cuda/host/runtime.h"

namespace fastnn::cuda {
namespace {

struct Block {
  void* memory;
  size_t bytes;
  bool resting = false;
  std::vector<cudaEvent_t> events;  // of a resting block: what was queued before
};
std::mutex mutex;
// Leaked on purpose: memory may be given back by other modules' destructors at exit.
std::vector<Block>& blocks = *new std::vector<Block>;

// Four sizes per power of two, from a page on.
size_t rounded(size_t bytes) {
  const size_t step = std::max<size_t>(std::bit_floor(bytes) / 4, 4096);
  return (bytes + step - 1) / step * step;
}

bool over(const Block& block) {
  return std::ranges::all_of(block.events, [](cudaEvent_t event) { return answered(cudaEventQuery(event)); });
}
void forget_events(Block& block) {
  for (const cudaEvent_t event : block.events) answered(cudaEventDestroy(event));
  block.events.clear();
}

// An event behind all that is queued on a stream; false if there can be none.
bool mark(Block& block, cudaStream_t stream) {
  cudaEvent_t event = nullptr;
  if (!answered(cudaEventCreateWithFlags(&event, cudaEventDisableTiming))) return false;
  block.events.push_back(event);
  return answered(cudaEventRecord(event, stream));
}
bool mark_all(Block& block) {
  for (int i = 0; i < devices; ++i) {
    Device& d = device_list[i];
    if (!d.used.load(std::memory_order_relaxed)) continue;
    const OnDevice here(i);
    const std::lock_guard lock(d.mutex);
    if (!mark(block, cudaStreamLegacy)) return false;
    for (const cudaStream_t stream : d.streams)
      if (stream && !mark(block, stream)) return false;
  }
  return true;
}

void* ask(size_t bytes) {
  void* memory = nullptr;
  return checked(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable)) == Status::ok ? memory : nullptr;
}

}  // namespace

void* allocate_pinned(size_t bytes) {
  const size_t size = rounded(bytes);
  {
    const std::lock_guard lock(mutex);
    for (Block& block : blocks)
      if (block.resting && block.bytes == size && over(block)) {
        forget_events(block);
        block.resting = false;
        return block.memory;
      }
  }
  void* memory = ask(size);
  if (!memory) {
    release_cached_pinned();
    memory = ask(size);
  }
  if (!memory) return nullptr;
  const std::lock_guard lock(mutex);
  blocks.push_back({memory, size});
  return memory;
}

void release_pinned(void* memory) {
  const std::lock_guard lock(mutex);
  const auto block = std::ranges::find(blocks, memory, &Block::memory);
  if (mark_all(*block)) {
    block->resting = true;
    return;
  }
  forget_events(*block);
  for (int i = 0; i < devices; ++i) {
    const OnDevice here(i);
    answered(cudaDeviceSynchronize());
  }
  answered(cudaFreeHost(memory));
  blocks.erase(block);
}

void release_cached_pinned() {
  std::vector<Block> given_back;
  {
    const std::lock_guard lock(mutex);
    const auto rest = std::partition(blocks.begin(), blocks.end(), [](const Block& b) { return !b.resting; });
    given_back.assign(std::make_move_iterator(rest), std::make_move_iterator(blocks.end()));
    blocks.erase(rest, blocks.end());
  }
  for (Block& block : given_back) {
    for (const cudaEvent_t event : block.events) answered(cudaEventSynchronize(event));
    forget_events(block);
    answered(cudaFreeHost(block.memory));
  }
}

}  // namespace fastnn::cuda
