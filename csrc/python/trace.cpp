// fastnn._C._Trace: keeps all that the ops of a thread announce, for tests.
#include "core/trace.h"

#include <memory>
#include <string>

#include "python/class.h"
#include "python/module.h"

namespace fastnn {
namespace {

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
  ~Trace() override {
    if (current_tracer() == this) set_tracer(nullptr);
  }
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

Object as_object(const Seen& seen) {
  if (seen.kind == Seen::missing) return none();
  Dict d;
  if (seen.kind == Seen::number) {
    const Number& n = seen.value;
    d.set("number", n.kind == Number::real      ? Object::owned(PyFloat_FromDouble(n.value))
                    : n.kind == Number::boolean ? truth(n.whole != 0)
                                                : integer(n.whole));
    return d.object();
  }
  d.set("shape", Object::owned(To<Dims>::of(seen.shape)));
  d.set("dtype", Object::owned(To<DType>::of(seen.dtype)));
  d.set("storage", integer(static_cast<int64_t>(seen.storage)));
  d.set("shares", seen.shares < 0 ? none() : integer(seen.shares));
  return d.object();
}
Object as_object(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) {
        using V = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<V, std::monostate>)
          return none();
        else
          return Object::owned(To<V>::of(value));
      },
      attribute.value);
}
template <class T>
Object list_of(const std::vector<T>& items) {
  const Object list = Object::owned(PyList_New(0));
  for (const T& item : items)
    if (PyList_Append(list.get(), as_object(item).get()) < 0) throw PythonError();
  return list;
}
Object as_object(const Event& event) {
  Dict d, attributes;
  for (const Attribute& a : event.attributes) attributes.set(a.name, as_object(a));
  d.set("op", text(event.op));
  d.set("backward", truth(event.backward));
  d.set("depth", integer(event.depth));
  d.set("inputs", list_of(event.inputs));
  d.set("attributes", attributes.object());
  d.set("outputs", list_of(event.outputs));
  d.set("kernels", integer(event.kernels));
  return d.object();
}

}  // namespace

using TraceHandle = std::shared_ptr<Trace>;
template <>
inline constexpr const char* class_name<TraceHandle> = "_Trace";

void define_trace(Definitions& d) {
  Class<TraceHandle>(d, "All that the ops of a thread announce.")
      .make("_Trace(cls)", [](PyObject*) { return std::make_shared<Trace>(); })
      .method("start(self)", [](TraceHandle& t) { t->start(); })
      .method("stop(self)", [](TraceHandle& t) { t->stop(); })
      .method("events(self) -> list[dict[str, Any]]", [](TraceHandle& t) { return list_of(t->events()); })
      .property("depth(self)", [](TraceHandle& t) { return t->depth(); }, "How many ops are under way.");
  d.internal("_tracers() -> int", [] { return tracers.load(); }, "How many threads are listened to.");
}

}  // namespace fastnn
