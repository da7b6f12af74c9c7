// Ops announce themselves: their name, inputs, parameters and outputs, and under each the kernels it
// launches. A tracer listens to one thread. Profiling stands on it, and so can whatever wants to know a
// computation without its closures.
//
//   Tensor softmax(const Tensor& x, int64_t dim) {
//     OpScope scope("softmax", x);
//     scope.with("dim", dim);
//     ...
//     return scope.returns(y);
//   }
//
// An op that is made of others announces itself first, and they themselves within it.
#pragma once
#include <atomic>
#include <initializer_list>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "backend/kernel.h"
#include "core/operand.h"

namespace fastnn {

struct Attribute {
  const char* name;
  std::variant<int64_t, double, bool, std::string, Dims> value;
};

struct KernelCall {
  DType dtype;
  Device device;
  double flops;
  std::span<const Touch> touches;
};

class Tracer {
 public:
  virtual ~Tracer() = default;
  virtual void enter(const char* op, bool backward) = 0;
  // Before the op's work is done; an undefined tensor stands for an input that was left out.
  virtual void input(const Operand& x) = 0;
  virtual void attribute(const Attribute& attribute) = 0;
  virtual void output(const Tensor& y) = 0;  // a view, where it shares an input's storage
  virtual void leave() = 0;
  virtual void kernel(const KernelCall& call, int64_t nanoseconds) = 0;  // once it has run
};

// How many threads are listened to, so that the others ask no more than that.
extern std::atomic<int> tracers;
Tracer* current_tracer();            // the calling thread's, or null
Tracer* set_tracer(Tracer* tracer);  // returns the one before
inline Tracer* tracer() {
  if (tracers.load(std::memory_order_relaxed) == 0) [[likely]]
    return nullptr;
  return current_tracer();
}

class OpScope {
 public:
  template <class... Inputs>
  explicit OpScope(const char* op, const Inputs&... inputs) : tracer_(tracer()) {
    if (tracer_) [[unlikely]] {
      tracer_->enter(op, false);
      (take(inputs), ...);
    }
  }
  ~OpScope() {
    if (tracer_) [[unlikely]]
      tracer_->leave();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  void reads(const Operand& x) {
    if (tracer_) [[unlikely]]
      tracer_->input(x);
  }
  template <class V>
  void with(const char* name, const V& value) {
    if (tracer_) [[unlikely]]
      tracer_->attribute({name, value});
  }
  Tensor returns(Tensor y) {
    if (tracer_) [[unlikely]]
      tracer_->output(y);
    return y;
  }

 private:
  void take(const Operand& x) { tracer_->input(x); }
  void take(const Tensor& x) { tracer_->input(x); }
  void take(std::span<const Tensor> list) {
    for (const Tensor& x : list) tracer_->input(x);
  }

  Tracer* const tracer_;
};

// The backward of an op, as the engine runs it.
class BackwardScope {
 public:
  explicit BackwardScope(const char* op) : tracer_(tracer()) {
    if (tracer_) [[unlikely]]
      tracer_->enter(op, true);
  }
  ~BackwardScope() {
    if (tracer_) [[unlikely]]
      tracer_->leave();
  }
  BackwardScope(const BackwardScope&) = delete;
  BackwardScope& operator=(const BackwardScope&) = delete;

 private:
  Tracer* const tracer_;
};

}  // namespace fastnn
