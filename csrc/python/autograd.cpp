// backward, grad, and functions whose forward and backward are written in Python.
#include "core/autograd.h"

#include <pybind11/stl.h>

#include "python/tensor.h"

namespace fastnn {
namespace {

// What ctx.save_for_backward() keeps: with its version, and without history where it is an output of the
// function itself.
struct PySaved {
  Saved saved;
};

// The node of a function defined in Python: calls backward(ctx, *grads) under Python's lock.
class PythonNode final : public Node {
 public:
  struct Input {
    Dims shape;
    DType dtype = DType::float32;
    Device device;
  };

  PythonNode(std::string title, py::object ctx, py::object backward, std::vector<Input> inputs,
             size_t outputs)
      : Node("Function", inputs.size(), outputs),
        title_(std::move(title)),
        like_(std::move(inputs)),
        ctx_(ctx.release()),
        backward_(backward.release()) {}
  ~PythonNode() override { PythonNode::free_saved(); }

  std::string title() const override { return title_; }

  void free_saved() override {
    if (freed) return;
    freed = true;
    py::gil_scoped_acquire lock;
    ctx_.dec_ref();
    backward_.dec_ref();
  }

  void apply(Backward& b) override {
    py::gil_scoped_acquire lock;
    py::tuple args(outputs() + 1);
    args[0] = ctx_;
    for (size_t i = 0; i < outputs(); ++i) args[i + 1] = b.dy(i);
    const PassScope pass(ctx_, b);
    py::object result = py::reinterpret_borrow<py::object>(backward_)(*args);
    if (!py::isinstance<py::tuple>(result)) result = py::make_tuple(result);
    const py::tuple grads = result;
    check(grads.size() == inputs(), ErrorKind::runtime, title_, ".backward: returned ", grads.size(),
          " gradients for ", inputs(), " inputs (None stands for none)");
    for (size_t i = 0; i < inputs(); ++i) {
      if (!b.needs(i) || grads[i].is_none()) continue;
      check_type(is_tensor(py::object(grads[i]).ptr()), title_, ".backward: gradient ", i,
                 " must be a Tensor or None");
      const Tensor& dx = unwrap(py::object(grads[i]).ptr());
      check_value(dx.shape() == like_[i].shape && dx.dtype() == like_[i].dtype, title_,
                  ".backward: gradient ", i, " is a ", dx.dtype(), " tensor of shape ", dx.shape(),
                  " for an input of ", like_[i].dtype, " and shape ", like_[i].shape);
      check(dx.device() == like_[i].device, ErrorKind::runtime, title_, ".backward: gradient ", i, " is on ",
            dx.device(), ", the input on ", like_[i].device, "; move it with .to()");
      b.set(i, dx);
    }
  }

 private:
  // What ctx.saved_tensors asks for the saved ones; gone with the call, however it ends.
  struct PassScope {
    PassScope(py::handle ctx, Backward& b) : ctx(ctx) {
      ctx.attr("_pass") = py::capsule(&b, "fastnn.Backward");
    }
    ~PassScope() {
      py::error_scope error;
      ctx.attr("_pass") = py::none();
    }
    PassScope(const PassScope&) = delete;
    PassScope& operator=(const PassScope&) = delete;
    py::handle ctx;
  };

  std::string title_;
  std::vector<Input> like_;
  py::handle ctx_, backward_;
};

// Records outputs = Function(inputs); called by python/fastnn/autograd.py after the forward ran off the tape.
void record_function(const std::string& title, const py::object& ctx, const py::object& backward,
                     const py::tuple& inputs, const std::vector<Tensor>& outputs) {
  std::vector<PythonNode::Input> like(inputs.size());
  std::vector<Edge> edges(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    PyObject* input = py::object(inputs[i]).ptr();
    if (!is_tensor(input)) continue;
    like[i] = {unwrap(input).shape(), unwrap(input).dtype(), unwrap(input).device()};
    edges[i] = edge_of(unwrap(input));
  }
  Ref<Node> node(new PythonNode(title, ctx, backward, std::move(like), outputs.size()));
  for (size_t i = 0; i < edges.size(); ++i) node->edge(i) = std::move(edges[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_floating(outputs[i].dtype())) attach(node.get(), outputs[i], static_cast<uint32_t>(i));
}

std::vector<Tensor> as_list(const py::object& o, const char* what) {
  std::vector<Tensor> list;
  if (o.is_none()) return list;
  if (is_tensor(o.ptr())) return {unwrap(o.ptr())};
  for (const py::handle item : o) {
    check_type(item.is_none() || is_tensor(item.ptr()), what, ": expected tensors, got ",
               Py_TYPE(item.ptr())->tp_name);
    list.push_back(item.is_none() ? Tensor() : unwrap(item.ptr()));
  }
  return list;
}

struct PyHook {
  Ref<Watches> watches;
  uint64_t id;
};

// A node of the tape as Python sees it, for inspection.
struct PyNode {
  Ref<Node> node;
};

}  // namespace

void define_autograd(py::module_& m) {
  m.def("is_grad_enabled", grad_enabled, "Whether ops are recorded on this thread.");
  m.def(
      "_set_grad_enabled",
      [](bool on) {
        const bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      },
      py::arg("on"), "Returns what was set before.");

  def_method(
      "backward",
      [](const Tensor& y, const std::optional<Tensor>& given, std::optional<bool> retain_graph,
         bool create_graph) {
        const Tensor gradient = given.value_or(Tensor());
        backward(std::span(&y, 1), std::span(&gradient, 1), retain_graph.value_or(create_graph),
                 create_graph);
      },
      py::arg("gradient") = py::none(), py::arg("retain_graph") = py::none(), py::arg("create_graph") = false,
      "Adds the gradient of this tensor (times `gradient`, 1 for a single element) to the .grad of every "
      "leaf.");
  m.def(
      "grad",
      [](const py::object& outputs, const py::object& inputs, const py::object& grad_outputs,
         std::optional<bool> retain_graph, bool create_graph, bool allow_unused) {
        const std::vector<Tensor> y = as_list(outputs, "grad: outputs"), x = as_list(inputs, "grad: inputs"),
                                  dy = as_list(grad_outputs, "grad: grad_outputs");
        std::vector<Tensor> dx = gradients(y, x, dy, retain_graph.value_or(create_graph), create_graph);
        py::tuple result(dx.size());
        for (size_t i = 0; i < dx.size(); ++i) {
          check(allow_unused || dx[i].defined(), ErrorKind::runtime, "grad: input ", i,
                " took no part in the outputs; pass allow_unused=True to get None for it");
          result[i] = dx[i];
        }
        return result;
      },
      py::arg("outputs"), py::arg("inputs"), py::arg("grad_outputs") = py::none(),
      py::arg("retain_graph") = py::none(), py::arg("create_graph") = false, py::arg("allow_unused") = false,
      "The gradients of the sum of `outputs` (times `grad_outputs`) with respect to each of `inputs`, as a "
      "tuple.\n\n"
      "Nothing is added to any .grad. With create_graph=True the gradients can be differentiated again.");

  def_method(
      "retain_grad", [](const Tensor& x) { retain_grad(x); },
      "Keeps the gradient of this tensor in .grad though it is not a leaf.");
  py::class_<PyHook>(m, "HookHandle", "A hook that was registered; remove() takes it away.")
      .def("remove", [](PyHook& h) {
        if (Watches* w = h.watches.get()) w->remove(h.id);
        h.watches = nullptr;
      });
  def_method(
      "register_hook",
      [](const Tensor& x, py::function hook) {
        Watches& w = watches_of(x);
        const uint64_t id = w.add(x.impl()->output_nr, [hook = std::move(hook)](const Tensor& grad) {
          return hook(grad).cast<std::optional<Tensor>>().value_or(Tensor());
        });
        return PyHook{Ref<Watches>::share(&w), id};
      },
      py::arg("hook"),
      "Calls hook(grad) when the gradient of this tensor is complete; a Tensor it returns is used instead.");

  py::class_<PySaved>(m, "_Saved")
      .def(py::init([](const Tensor& t, std::optional<uint32_t> output_nr) {
             return PySaved{output_nr ? save_output(t, *output_nr) : save(t)};
           }),
           py::arg("tensor"), py::arg("output_nr"))
      .def("get", [](const PySaved& s, const py::capsule& pass) {
        return pass.get_pointer<Backward>()->get(s.saved);
      });
  m.def("_record_function", record_function);

  py::class_<PyNode>(m, "Node", "A recorded operation: the tape as seen from Python.")
      .def_property_readonly("name", [](const PyNode& n) { return n.node->title(); })
      .def_property_readonly(
          "next_functions",
          [](const PyNode& n) {
            py::list next;
            for (size_t i = 0; i < n.node->inputs(); ++i) {
              const Edge& e = n.node->edge(i);
              if (e.node)
                next.append(py::cast(PyNode{e.node}));
              else if (e.leaf)
                next.append(Tensor(e.leaf));
              else
                next.append(py::none());
            }
            return py::tuple(next);
          },
          "For each input the Node that made it, the leaf Tensor itself, or None.")
      .def("__eq__", [](const PyNode& a, const PyNode& b) { return a.node.get() == b.node.get(); })
      .def("__hash__", [](const PyNode& n) { return reinterpret_cast<Py_hash_t>(n.node.get()) >> 4; })
      .def("__repr__", [](const PyNode& n) { return "<" + n.node->title() + ">"; });

  py::handle type = m.attr("Tensor");
  py::object property = py::module_::import("builtins").attr("property");
  py::setattr(type, "grad_fn", property(py::cpp_function([](const Tensor& t) -> py::object {
                return t.is_leaf() ? py::none() : py::cast(PyNode{t.impl()->grad_fn});
              })));
  py::setattr(type, "is_leaf", property(py::cpp_function([](const Tensor& t) { return t.is_leaf(); })));
  def_method(
      "detach",
      [](const Tensor& t) {
        Tensor y = detach(t);
        y.impl()->is_view = t.impl()->is_view;
        y.impl()->history = TensorImpl::kDetached;
        return y;
      },
      "The same memory without history.");
}

}  // namespace fastnn
