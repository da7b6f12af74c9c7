// backward, grad, hooks, and the tape as Python sees it.
#include "core/autograd.h"
#include "core/trace.h"

#include "python/class.h"
#include "python/module.h"

namespace fastnn {
namespace {

std::vector<Tensor> as_list(const Object& o, const char* what) {
  std::vector<Tensor> list;
  if (o.is_none()) return list;
  if (is_tensor(o.get())) return {unwrap(o.get())};
  check_type(o.has("__iter__"), what, ": expected tensors, got ", Py_TYPE(o.get())->tp_name);
  const Items items(o);
  for (Py_ssize_t i = 0; i < items.size(); ++i) {
    const Object item = items[i];
    check_type(item.is_none() || is_tensor(item.get()), what, ": expected tensors, got ",
               Py_TYPE(item.get())->tp_name);
    list.push_back(item.is_none() ? Tensor() : unwrap(item.get()));
  }
  return list;
}

// A hook that was registered.
struct PyHook {
  Ref<Watches> watches;
  uint64_t id;
};

// A node of the tape as Python sees it, for inspection.
struct PyNode {
  Ref<Node> node;
};

void run_backward(const Tensor& y, const Tensor& gradient, std::optional<bool> retain_graph,
                  bool create_graph) {
  backward(std::span(&y, 1), std::span(&gradient, 1), retain_graph.value_or(create_graph), create_graph);
}

Object grad(const Object& outputs, const Object& inputs, const Object& grad_outputs,
            std::optional<bool> retain_graph, bool create_graph, bool allow_unused) {
  const std::vector<Tensor> y = as_list(outputs, "grad: outputs"), x = as_list(inputs, "grad: inputs"),
                            dy = as_list(grad_outputs, "grad: grad_outputs");
  const std::vector<Tensor> dx = gradients(y, x, dy, retain_graph.value_or(create_graph), create_graph);
  Object result = Object::owned(PyTuple_New(static_cast<Py_ssize_t>(dx.size())));
  for (size_t i = 0; i < dx.size(); ++i) {
    check(allow_unused || dx[i].defined(), ErrorKind::runtime, "grad: input ", i,
          " took no part in the outputs; pass allow_unused=True to get None for it");
    PyTuple_SET_ITEM(result.get(), static_cast<Py_ssize_t>(i), wrap(dx[i]));
  }
  return result;
}

PyHook register_hook(const Tensor& x, const Object& hook) {
  check_type(PyCallable_Check(hook.get()), "register_hook: the hook must be a function, got ",
             Py_TYPE(hook.get())->tp_name);
  Watches& w = watches_of(x);
  const uint64_t id = w.add(x.impl()->output_nr, [hook](const Tensor& grad) {
    const Object instead = hook(Object::owned(wrap(grad)));
    if (instead.is_none()) return Tensor();
    check_type(is_tensor(instead.get()), "register_hook: the hook must return a Tensor or None, got ",
               Py_TYPE(instead.get())->tp_name);
    return unwrap(instead.get());
  });
  return {.watches = Ref<Watches>::share(&w), .id = id};
}

void remove_hook(PyHook& h) {
  if (Watches* w = h.watches.get()) w->remove(h.id);
  h.watches = nullptr;
}

}  // namespace

template <>
inline constexpr const char* class_name<PyHook> = "HookHandle";
template <>
inline constexpr const char* class_name<PyNode> = "Node";

namespace {

Object next_functions(const PyNode& n) {
  const Object next = Object::owned(PyTuple_New(static_cast<Py_ssize_t>(n.node->inputs())));
  for (size_t i = 0; i < n.node->inputs(); ++i) {
    const Edge& e = n.node->edge(i);
    PyObject* one = e.node ? boxed(PyNode{e.node}) : wrap(Tensor(e.leaf));
    PyTuple_SET_ITEM(next.get(), static_cast<Py_ssize_t>(i), one);
  }
  return next;
}

Object grad_fn(const Tensor& t) {
  return t.is_leaf() ? none() : Object::owned(boxed(PyNode{t.impl()->grad_fn}));
}

Tensor detached(const Tensor& t) {
  OpScope scope("detach", t);
  Tensor y = detach(t);
  y.impl()->is_view = t.impl()->is_view;
  y.impl()->history = TensorImpl::kDetached;
  return scope.returns(std::move(y));
}

}  // namespace

void define_autograd(Definitions& d) {
  d.function("is_grad_enabled()", grad_enabled, "Whether ops are recorded on this thread.");
  d.internal(
      "_set_grad_enabled(on)",
      [](bool on) {
        const bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      },
      "Returns what was set before.");

  d.method("backward(self, gradient=None, retain_graph=None, create_graph=False)", run_backward,
           "Adds the gradient of this tensor (times `gradient`, 1 for a single element) to the .grad of "
           "every leaf.");
  d.function(
      "grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, "
      "allow_unused=False) -> tuple[Any, ...]",
      grad,
      "The gradients of the sum of `outputs` (times `grad_outputs`) with respect to each of `inputs`, "
      "as a tuple.\n\n"
      "Nothing is added to any .grad. With create_graph=True the gradients can be differentiated "
      "again.");
  d.method("detach(self)", detached, "The same memory without history.");

  Class<PyHook>(d, "A hook that was registered; remove() takes it away.")
      .method("remove(self)", remove_hook, "Takes the hook away.");
  d.method("retain_grad(self)", retain_grad,
           "Keeps the gradient of this tensor in .grad though it is not a leaf.");
  d.method("register_hook(self, hook: Callable[[Tensor], Tensor | None])", register_hook,
           "Calls hook(grad) when the gradient of this tensor is complete; a Tensor it returns is used "
           "instead.");

  Class<PyNode>(d, "A recorded operation: the tape as seen from Python.")
      .property(
          "name(self)", [](const PyNode& n) { return n.node->title(); }, "What the operation is called.")
      .property("next_functions(self) -> tuple[Node | Tensor | None, ...]", next_functions,
                "For each input the Node that made it, the leaf Tensor itself, or None.")
      .method("__eq__(self, other: object, /)",
              [](const PyNode& n, PyObject* other) {
                return is_boxed<PyNode>(other) && unboxed<PyNode>(other).node.get() == n.node.get();
              })
      .method("__hash__(self)", [](const PyNode& n) { return reinterpret_cast<intptr_t>(n.node.get()) >> 4; })
      .method("__repr__(self)", [](const PyNode& n) { return "<" + std::string(n.node->title()) + ">"; });

  const Object tensor = Object::shared(reinterpret_cast<PyObject*>(tensor_type));
  set_property(tensor, new_function(definition("grad_fn(self) -> Node | None", grad_fn,
                                               "The recorded operation that made it; None for a leaf."),
                                    "Tensor"));
  set_property(tensor, new_function(definition(
                                        "is_leaf(self)", [](const Tensor& t) { return t.is_leaf(); },
                                        "Whether no recorded operation made it."),
                                    "Tensor"));
}

}  // namespace fastnn
