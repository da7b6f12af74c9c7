#include "core/autograd.h"

namespace fastnn {
namespace {

thread_local bool grad_mode = true;
std::atomic<uint64_t> next_sequence{0};

}  // namespace

bool grad_enabled() { return grad_mode; }
void set_grad_enabled(bool on) { grad_mode = on; }

Node::Node(const char* name, size_t inputs, size_t outputs)
    : name(name),
      sequence(next_sequence.fetch_add(1, std::memory_order_relaxed)),
      inputs_(static_cast<uint32_t>(inputs)),
      outputs_(static_cast<uint32_t>(outputs)),
      edges_(inputs > kInline ? new Edge[inputs] : inline_edges_),
      pending_(outputs > 1 ? new Tensor[outputs] : inline_pending_) {}

Node::~Node() {
  if (edges_ != inline_edges_) delete[] edges_;
  if (pending_ != inline_pending_) delete[] pending_;
}

void Node::release() {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  end_in_turn(this, [](void* node) { delete static_cast<Node*>(node); });
}

Edge edge_of(const Tensor& x) {
  Edge edge;
  if (!x.defined()) return edge;
  check(
      !x.is_stale_view(), ErrorKind::runtime, "a view of shape ", x.shape(),
      " is used after the tensor it shows was changed in place with gradients recorded; take the view again");
  if (x.impl()->grad_fn) {
    edge.node = x.impl()->grad_fn;
    edge.output_nr = x.impl()->output_nr;
  } else if (x.impl()->requires_grad) {
    edge.leaf = x.ref();
  }
  return edge;
}

void attach(Node* node, const Tensor& y, uint32_t output_nr) {
  if (y.impl()->retains_grad) forget_history(y);
  y.impl()->grad_fn = Ref<Node>::share(node);
  y.impl()->output_nr = output_nr;
  if (y.impl()->retains_grad) watches_of(y).keep(output_nr, y.impl());
}

void forget_history(const Tensor& x) {
  TensorImpl* impl = x.impl();
  if (impl->retains_grad && impl->grad_fn && impl->grad_fn->watches) impl->grad_fn->watches->forget(impl);
  impl->grad_fn = nullptr;
}

Saved save(const Tensor& x) {
  if (!x.defined()) return {};
  return {x, x.impl()->storage->version.load(std::memory_order_relaxed), false, 0};
}

Saved save_output(const Tensor& y, uint32_t output_nr) {
  return {detach(y), y.impl()->storage->version.load(std::memory_order_relaxed), true, output_nr};
}

Tensor Backward::get(const Saved& saved) const {
  if (!saved.tensor.defined()) return {};
  const uint32_t now = saved.tensor.impl()->storage->version.load(std::memory_order_relaxed);
  check(now == saved.version, ErrorKind::runtime, node_.name, ": a tensor of shape ", saved.tensor.shape(),
        " that its gradient needs was changed in place after the forward pass (version ", now, ", saved at ",
        saved.version, "); write to a clone instead");
  if (!saved.output || !grad_enabled()) return saved.tensor;
  Tensor y = detach(saved.tensor);
  attach(&node_, y, saved.output_nr);
  return y;
}

Tensor before_in_place(const char* op, const Tensor& x, bool recorded) {
  check_value(!x.impl()->storage->read_only, op,
              ": the tensor shares a read-only NumPy array and cannot be written");
  for (int i = 0; i < x.dim(); ++i)
    check(x.strides()[i] != 0 || x.size(i) <= 1 || x.numel() == 0, ErrorKind::runtime, op,
          ": the tensor is an expanded view, several of its elements share memory; write to a clone");
  Tensor before = detach(x);
  if (!recorded) return before;
  check(!x.requires_grad() || !x.is_leaf(), ErrorKind::runtime, op,
        ": a leaf that requires grad cannot be changed in place while gradients are recorded; use no_grad()");
  check(!x.impl()->is_view, ErrorKind::runtime, op,
        ": a view cannot be changed in place while gradients are recorded, for the tensor it shows would not "
        "know; write "
        "through an index of that tensor, or to a clone");
  x.impl()->storage->history.fetch_add(1, std::memory_order_relaxed);
  before.impl()->grad_fn = x.impl()->grad_fn;
  before.impl()->output_nr = x.impl()->output_nr;
  return before;
}

}  // namespace fastnn
