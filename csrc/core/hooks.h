// What the library asks of the language that hosts it (Python's lock and signals), as functions that the
// binding fills in. Without a host they do nothing.
#pragma once

namespace fastnn {

struct HostHooks {
  void* (*unlock)() = [] {
    return static_cast<void*>(nullptr);
  };  // lets other host threads run; null if not held
  void (*relock)(void* token) = [](void*) {};
  bool (*main_thread)() = [] { return false; };  // whether an interrupt should stop this thread's kernels
  void (*raise_interrupt)() = [] {};             // throws if the interrupt became an error in the host
};
extern HostHooks host_hooks;

// Lets other host threads run for the length of a scope.
class Unlocked {
 public:
  explicit Unlocked(bool wanted = true) : token_(wanted ? host_hooks.unlock() : nullptr) {}
  ~Unlocked() {
    if (token_) host_hooks.relock(token_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  void* token_;
};

}  // namespace fastnn
