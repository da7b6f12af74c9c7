// backward, grad, hooks, and the tape as Python sees it.
#include "python/autograd.h"

#include "core/trace.h"

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
  const uint64_t id = w.add(x.impl()->output_nr, PyGradHook{hook});
  track(x);
  return {.watches = Ref<Watches>::share(&w), .id = id};
}

Object grad_fn(const Tensor& t) {
  return t.is_leaf() ? none() : Object::owned(new_instance(PyNode{t.impl()->grad_fn}));
}

Tensor detached(const Tensor& t) {
  OpScope scope("detach", t);
  Tensor y = detach(t);
  y.impl()->is_view = t.impl()->is_view;
  y.impl()->history = TensorImpl::kDetached;
  return scope.returns(std::move(y));
}

}  // namespace

Tensor PyGradHook::operator()(const Tensor& grad) const {
  const Object instead = hook(Object::owned(wrap(grad)));
  if (instead.is_none()) return {};
  check_type(is_tensor(instead.get()), "register_hook: the hook must return a Tensor or None, got ",
             Py_TYPE(instead.get())->tp_name);
  return unwrap(instead.get());
}

void PyHook::remove() {
  if (watches) watches->remove(id);
  watches = nullptr;
}

Object PyNode::next_functions() const {
  Object next = Object::owned(PyTuple_New(static_cast<Py_ssize_t>(node->inputs())));
  for (size_t i = 0; i < node->inputs(); ++i) {
    const Edge& e = node->edge(i);
    PyTuple_SET_ITEM(next.get(), static_cast<Py_ssize_t>(i),
                     e.node ? new_instance(PyNode{e.node}) : wrap(Tensor(e.leaf)));
  }
  return next;
}

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

  d.method("retain_grad(self)", retain_grad,
           "Keeps the gradient of this tensor in .grad though it is not a leaf.");
  d.method("register_hook(self, hook: Callable[[Tensor], Tensor | None])", register_hook,
           "Calls hook(grad) when the gradient of this tensor is complete; a Tensor it returns is used "
           "instead.");

  d.property("grad_fn(self) -> Node | None", grad_fn,
             "The recorded operation that made it; None for a leaf.");
  d.property(
      "is_leaf(self)", [](const Tensor& t) { return t.is_leaf(); }, "Whether no recorded operation made it.");
}

}  // namespace fastnn
