#include "core/trace.h"

#include <mutex>

namespace fastnn {

std::atomic<int> tracers{0};

namespace {
// A tracer may be given up by another thread than it listens to, and a thread may end before its tracer.
std::mutex& attaching() {
  static std::mutex& m = *new std::mutex;
  return m;
}
}  // namespace

struct ListeningSlot {
  Tracer* tracer = nullptr;

  ~ListeningSlot() {
    const std::lock_guard lock(attaching());
    if (!tracer) return;
    tracer->thread_ended();
    release();
  }
  void release() {
    tracer->slot_ = nullptr;
    tracer = nullptr;
    tracers.fetch_sub(1, std::memory_order_relaxed);
  }
};

namespace {
thread_local ListeningSlot listening;
}

Tracer* current_tracer() { return listening.tracer; }

Tracer* set_tracer(Tracer* tracer) {
  const std::lock_guard lock(attaching());
  Tracer* const before = listening.tracer;
  if (before) listening.release();
  if (tracer) {
    listening.tracer = tracer;
    tracer->slot_ = &listening;
    tracers.fetch_add(1, std::memory_order_relaxed);
  }
  return before;
}

void OpScope::announce(const Tensor& x) {
  const bool number = x.defined() && x.impl()->weak && x.device().type == DeviceType::cpu;
  tracer_->input(number ? Operand(number_of(x)) : Operand(x));
}

void Tracer::detach() {
  const std::lock_guard lock(attaching());
  if (slot_) slot_->release();
}

}  // namespace fastnn
