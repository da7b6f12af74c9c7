#include "python/trace.h"

#include "python/convert.h"
#include "python/module.h"

namespace fastnn {
namespace {

Object as_object(const Seen& seen) {
  if (seen.kind == Seen::missing) return none();
  Dict d;
  if (seen.kind == Seen::number) {
    const Number& n = seen.value;
    d.set("number", n.kind >= Number::huge      ? Object::owned(PyFloat_FromDouble(n.value))
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
Object as_object(const Event& event);
template <class T>
Object list_of(const std::vector<T>& items) {
  const Object list = Object::owned(PyList_New(0));
  for (const T& item : items)
    if (PyList_Append(list.get(), as_object(item).get()) < 0) throw_python_error();
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

Object events_of(const Trace& trace) { return list_of(trace.events()); }

void define_trace(Definitions& d) {
  d.internal("_tracers() -> int", [] { return tracers.load(); }, "How many threads are listened to.");
}

}  // namespace fastnn
