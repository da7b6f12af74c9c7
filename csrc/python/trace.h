// fastnn._C._Trace: keeps all that the ops of a thread announce, for tests.
#pragma once
#include <string>

#include "core/trace.h"
#include "python/instance.h"

namespace fastnn {

// A tensor or number as it was when it was announced. Holding on to the tensor would change what the ops
// after it do: they write into memory that nobody else sees.
struct Seen {
  enum { missing, number, tensor } kind = missing;
  Number value;
  Dims shape;
  DType dtype{};
  uintptr_t storage = 0;
  int shares = -1;  // of an output: the first input with its memory

  static Seen of(const Tensor& t) {
    Seen seen;
    if (!t.defined()) return seen;
    seen.kind = tensor;
    seen.shape = t.shape();
    seen.dtype = t.dtype();
    seen.storage = reinterpret_cast<uintptr_t>(t.impl()->storage.get());
    return seen;
  }
};

struct Event {
  std::string op;
  bool backward;
  int depth;
  std::vector<Seen> inputs{}, outputs{};
  std::vector<Attribute> attributes{};
  int64_t kernels = 0;
};

class Trace final : public Tracer {
 public:
  ~Trace() override { detach(); }
  void start() {
    check(!current_tracer(), ErrorKind::runtime, "trace: another tracer listens to this thread");
    set_tracer(this);
  }
  void stop() {
    if (current_tracer() == this) set_tracer(nullptr);
    open_.clear();
  }
  const std::vector<Event>& events() const { return events_; }
  int64_t depth() const { return static_cast<int64_t>(open_.size()); }

  void enter(const char* op, bool backward) override {
    open_.push_back(events_.size());
    events_.push_back({.op = op, .backward = backward, .depth = static_cast<int>(open_.size() - 1)});
  }
  void input(const Operand& x) override {
    Seen seen;
    if (x.is_number())
      seen.kind = Seen::number, seen.value = x.number();
    else
      seen = Seen::of(x.tensor());
    current().inputs.push_back(seen);
  }
  void attribute(const Attribute& attribute) override { current().attributes.push_back(attribute); }
  void output(const Tensor& y) override {
    Event& event = current();
    Seen seen = Seen::of(y);
    for (size_t i = event.inputs.size(); seen.kind == Seen::tensor && i-- > 0;)
      if (event.inputs[i].storage == seen.storage) seen.shares = static_cast<int>(i);
    event.outputs.push_back(seen);
  }
  void leave() override { open_.pop_back(); }
  void kernel(const KernelCall&, int64_t) override {
    if (!open_.empty()) ++current().kernels;
  }

 private:
  Event& current() { return events_[open_.back()]; }

  std::vector<Event> events_;  // in the order in which they began
  std::vector<size_t> open_;
};

template <>
inline constexpr const char* class_name<Trace> = "_Trace";

Object events_of(const Trace& trace);  // a list of dicts

}  // namespace fastnn
