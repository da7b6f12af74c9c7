// Functions whose forward and backward are written in Python.
#include "core/trace.h"
#include "python/autograd.h"
#include "python/module.h"

namespace fastnn {
namespace {

constexpr const char* kPass = "fastnn.Backward";

// The node of a function defined in Python: calls backward(ctx, *grads) under Python's lock.
class PythonNode final : public Node {
 public:
  struct Input {
    Dims shape;
    DType dtype = DType::float32;
    Device device;
  };

  PythonNode(std::string title, Object ctx, Object backward, std::vector<Input> inputs, size_t outputs)
      : Node("Function", inputs.size(), outputs),
        title_(std::move(title)),
        like_(std::move(inputs)),
        ctx_(std::move(ctx)),
        backward_(std::move(backward)) {}
  ~PythonNode() override { PythonNode::free_saved(); }

  const char* title() const override { return title_.c_str(); }

  int visit_host_objects(Visit visit, void* arg) const override {
    for (const Object* o : {&ctx_, &backward_})
      if (*o)
        if (const int stop = visit(o->get(), arg)) return stop;
    return 0;
  }

  void free_saved() override {
    if (freed) return;
    freed = true;
    const Locked lock;
    ctx_ = {};
    backward_ = {};
  }

  void apply(Backward& b) override {
    const Locked lock;
    const Object args = Object::owned(PyTuple_New(static_cast<Py_ssize_t>(outputs() + 1)));
    PyTuple_SET_ITEM(args.get(), 0, Object(ctx_).release());
    for (size_t i = 0; i < outputs(); ++i)
      PyTuple_SET_ITEM(args.get(), static_cast<Py_ssize_t>(i + 1), wrap(b.dy(i)));
    const PassScope pass(*this);
    Object result = call(backward_, args);
    if (!PyTuple_Check(result.get())) result = tuple_of(result);
    const Items grads(result);
    check(static_cast<size_t>(grads.size()) == inputs(), ErrorKind::runtime, title_, ".backward: returned ",
          grads.size(), " gradients for ", inputs(), " inputs (None stands for none)");
    for (size_t i = 0; i < inputs(); ++i)
      if (const Object grad = grads[static_cast<Py_ssize_t>(i)]; b.needs(i) && !grad.is_none())
        take(b, i, grad);
  }

 private:
  // What ctx.saved_tensors asks for the saved ones: there while any pass is in the function's backward.
  struct PassScope {
    explicit PassScope(PythonNode& node) : node(node) {
      if (node.passes_ == 0) node.ctx_.set("_pass", node.capsule());
      ++node.passes_;
    }
    ~PassScope() {
      if (--node.passes_ > 0) return;
      if (PyObject_SetAttrString(node.ctx_.get(), "_pass", Py_None) < 0)
        PyErr_WriteUnraisable(node.ctx_.get());
    }
    PassScope(const PassScope&) = delete;
    PassScope& operator=(const PassScope&) = delete;
    PythonNode& node;
  };

  Object capsule() {
    Ref<Node> self = Ref<Node>::share(this);
    Object o = Object::owned(PyCapsule_New(self.get(), kPass, [](PyObject* capsule) {
      static_cast<Node*>(PyCapsule_GetPointer(capsule, kPass))->release();
    }));
    self.detach();  // the capsule has its reference now
    return o;
  }

  // A gradient that the function returned.
  void take(Backward& b, size_t i, const Object& grad) const {
    check_type(is_tensor(grad.get()), title_, ".backward: gradient ", i, " must be a Tensor or None");
    const Tensor& dx = unwrap(grad.get());
    check_value(dx.shape() == like_[i].shape && dx.dtype() == like_[i].dtype, title_, ".backward: gradient ",
                i, " is a ", dx.dtype(), " tensor of shape ", dx.shape(), " for an input of ", like_[i].dtype,
                " and shape ", like_[i].shape);
    check(dx.device() == like_[i].device, ErrorKind::runtime, title_, ".backward: gradient ", i, " is on ",
          dx.device(), ", the input on ", like_[i].device, "; move it with .to()");
    b.set(i, dx);
  }

  std::string title_;
  std::vector<Input> like_;
  Object ctx_, backward_;
  int passes_ = 0;
};

// forward(ctx, *inputs), announced by the function's name.
Object call_forward(const std::string& title, const Object& forward, const Object& ctx,
                    const Object& inputs) {
  OpScope scope(title.c_str());
  const auto tell = [](const Object& given, auto&& each) {
    const Items items(PyTuple_Check(given.get()) ? given : tuple_of(given));
    for (Py_ssize_t i = 0; i < items.size(); ++i)
      if (const Object item = items[i]; is_tensor(item.get())) each(unwrap(item.get()));
  };
  if (scope.heard()) tell(inputs, [&](const Tensor& x) { scope.reads(x); });
  const Object all = Object::owned(PySequence_Concat(tuple_of(ctx).get(), inputs.get()));
  const Object result = call(forward, all);
  if (scope.heard()) tell(result, [&](const Tensor& y) { scope.writes(y); });
  return result;
}

// Records outputs = Function(inputs); called by python/fastnn/autograd.py after the forward ran off the tape.
void record_function(const std::string& title, const Object& ctx, const Object& backward,
                     const Object& inputs, const std::vector<Tensor>& outputs) {
  const Items items(inputs);
  std::vector<PythonNode::Input> like(static_cast<size_t>(items.size()));
  std::vector<Edge> edges(like.size());
  for (size_t i = 0; i < like.size(); ++i) {
    const Object input = items[static_cast<Py_ssize_t>(i)];
    if (!is_tensor(input.get())) continue;
    const Tensor& x = unwrap(input.get());
    like[i] = {.shape = x.shape(), .dtype = x.dtype(), .device = x.device()};
    edges[i] = edge_of(x);
  }
  Ref<Node> node(new PythonNode(title, ctx, backward, std::move(like), outputs.size()));
  for (size_t i = 0; i < edges.size(); ++i) node->edge(i) = std::move(edges[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_floating(outputs[i].dtype())) {
      attach(node.get(), outputs[i], static_cast<uint32_t>(i));
      track(outputs[i]);
    }
}

}  // namespace

Tensor PySaved::get(const Object& during) const {
  auto* node = static_cast<Node*>(PyCapsule_GetPointer(during.get(), kPass));
  if (!node) throw_python_error();
  check_value(!saved.output || saved.output_nr < node->outputs(), "saved_tensors: output ", saved.output_nr,
              " of a function with ", node->outputs());
  return Backward(*node, nullptr, nullptr).get(saved);
}

void define_python_functions(Definitions& d) {
  d.internal("_call_forward(title, forward, ctx, inputs)", call_forward,
             "What forward(ctx, *inputs) returns.");
  d.internal("_record_function(title, ctx, backward, inputs, outputs)", record_function,
             "Puts a function's outputs on the tape.");
}

}  // namespace fastnn
