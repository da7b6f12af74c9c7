// Ref<T>: an intrusive, thread-safe reference. T has retain() and release(); release() frees at the last one.
#pragma once
#include <stddef.h>
#include <utility>

namespace fastnn {

// Calls end(object), or, where an object is being ended so on this thread already, has it called when that is
// done: objects that own one another to any depth end without recursion.
void end_in_turn(void* object, void (*end)(void*));

template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  explicit Ref(T* adopted) : p_(adopted) {}  // takes over the reference that a new object is born with
  static Ref share(T* p) {
    if (p) p->retain();
    return Ref(p);
  }
  Ref(const Ref& o) : p_(o.p_) {
    if (p_) p_->retain();
  }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_) p_->release();
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  T* detach() { return std::exchange(p_, nullptr); }

 private:
  T* p_ = nullptr;
};

}  // namespace fastnn
