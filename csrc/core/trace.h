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
// Whatever a user can call or the tape records does so, under the name that its node has and with the names
// that Python gives its parameters. An op that is made of others announces itself first, and they themselves
// within it. A conversion that finds nothing to convert does nothing and says nothing.
#pragma once
#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "backend/kernel.h"
#include "core/operand.h"

namespace fastnn {

struct Attribute {
  const char* name;
  std::variant<std::monostate, bool, int64_t, double, std::string, Dims, DType, Device> value;  // first: None
};

struct KernelCall {
  DType dtype;
  Device device;
  double flops;
  std::span<const Touch> touches;
};

class Tracer {
 public:
  Tracer() = default;
  virtual ~Tracer() { detach(); }
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  virtual void enter(const char* op, bool backward) = 0;  // `op` lives until leave()
  // Before the op's work is done; an undefined tensor stands for an input that was left out. Of a backward:
  // the gradients of the node's outputs.
  virtual void input(const Operand& x) = 0;
  virtual void attribute(const Attribute& attribute) = 0;
  // What it made: memory of its own, a view where it shares an input's storage, or an input that it has
  // overwritten. Of a backward: the gradients of the node's inputs.
  virtual void output(const Tensor& y) = 0;
  virtual void leave() = 0;
  virtual void kernel(const KernelCall& call, int64_t nanoseconds) = 0;  // once it has run
  virtual void thread_ended() {}  // the thread that it listened to, which it no longer does

 protected:
  void detach();  // stops listening, in whatever thread; first of all in a destructor

 private:
  friend Tracer* set_tracer(Tracer* tracer);
  friend struct ListeningSlot;
  struct ListeningSlot* slot_ = nullptr;  // of the thread that it listens to
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
  explicit OpScope(const char* op) : OpScope(false, [op] { return op; }) {}
  template <class... Inputs>
  explicit OpScope(const char* op, const Inputs&... inputs) : OpScope(op) {
    (reads(inputs), ...);
  }
  ~OpScope() {
    if (heard()) tracer_->leave();
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  void reads(const Operand& x) {
    if (heard()) tracer_->input(x);
  }
  void reads(const Tensor& x) {
    if (heard()) announce(x);
  }
  void reads(std::span<const Tensor> list) {
    if (!heard()) return;
    for (const Tensor& x : list) announce(x);
  }
  template <class V>
  void with(const char* name, const V& value) {
    if (heard()) tracer_->attribute({name, value});
  }
  template <class V>
  void with(const char* name, const std::optional<V>& value) {
    if (heard()) tracer_->attribute(value ? Attribute{name, *value} : Attribute{name, {}});
  }
  Tensor returns(Tensor&& y) {
    writes(y);
    return std::move(y);
  }
  Tensor returns(const Tensor& y) {
    writes(y);
    return y;
  }
  std::pair<Tensor, Tensor> returns(std::pair<Tensor, Tensor>&& y) {
    writes(y.first), writes(y.second);
    return std::move(y);
  }
  void writes(const Tensor& y) {
    if (heard()) tracer_->output(y);
  }
  void writes(std::span<const Tensor> list) {
    if (!heard()) return;
    for (const Tensor& y : list) tracer_->output(y);
  }
  // Whether to go to the length of putting together what is to be announced. A tracer that has stopped
  // listening since the op began, from within it, may be gone.
  bool heard() const {
    if (!tracer_) [[likely]]
      return false;
    return current_tracer() == tracer_;
  }

 protected:
  template <class Name>
  OpScope(bool backward, Name name) : tracer_(tracer()) {
    if (tracer_) [[unlikely]]
      tracer_->enter(name(), backward);
  }

 private:
  void announce(const Tensor& x);  // one that stands for a number as that

  Tracer* const tracer_;
};

// The backward of a node, as the engine runs it.
class BackwardScope : public OpScope {
 public:
  template <class N>
  explicit BackwardScope(const N& node) : OpScope(true, [&] { return node.title(); }) {}
};

}  // namespace fastnn
