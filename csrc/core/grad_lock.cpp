#include "core/grad_lock.h"

#include <pthread.h>
#include <stdint.h>
#include <atomic>

#include "core/hooks.h"

namespace fastnn {

struct GradLock::Slot {
  std::atomic<const void*> holder{nullptr};
};

namespace {

thread_local char this_thread;  // its address names the thread

}  // namespace

// By address: tensors share slots, which costs a wait now and then.
GradLock::GradLock(const TensorImpl* tensor) : slot_(nullptr) {
  constexpr int kSlots = 64;
  static Slot slots[kSlots];
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] {
    for (Slot& slot : slots) slot.holder.store(nullptr, std::memory_order_relaxed);
  });
  Slot& slot = slots[reinterpret_cast<uintptr_t>(tensor) / 64 % kSlots];
  const void* holder = nullptr;
  while (!slot.holder.compare_exchange_strong(holder, &this_thread, std::memory_order_acquire)) {
    if (holder == &this_thread) return;
    const Unlocked scope;
    slot.holder.wait(holder, std::memory_order_relaxed);
    holder = nullptr;
  }
  slot_ = &slot;
}

GradLock::~GradLock() {
  if (!slot_) return;
  slot_->holder.store(nullptr, std::memory_order_release);
  slot_->holder.notify_all();
}

}  // namespace fastnn
