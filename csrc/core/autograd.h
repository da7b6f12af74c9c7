// The tape: a node per recorded op, edges to the nodes that made its inputs, and backward(), which walks them
// newest first.
//
// An op records itself with
//
//   if (wants_grad(x)) record("tanh", y, {x}, [y = save_output(y)](Backward& b) {
//     b.set(0, tanh_backward(b.dy(), b.get(y)));
//   });
//
// Inside, ops run with the tape on when the caller asked for create_graph: what is built from differentiable
// ops is then differentiable again; grad_enabled() tells, where a fused kernel serves the common case.
#pragma once
#include <functional>
#include <initializer_list>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

#include "core/tensor.h"

namespace fastnn {

bool grad_enabled();
void set_grad_enabled(bool on);

class GradMode {  // sets the mode of this thread for a scope
 public:
  explicit GradMode(bool on) : before_(grad_enabled()) { set_grad_enabled(on); }
  ~GradMode() { set_grad_enabled(before_); }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};

// A stale view counts: recording it says what is wrong, where a gradient would silently be missing.
template <class... Inputs>
bool wants_grad(const Inputs&... inputs) {
  return grad_enabled() && ((inputs.defined() && (inputs.requires_grad() || inputs.is_stale_view())) || ...);
}

// A tensor kept for the backward pass, with the version it had: reading it after an in-place write is an
// error.
struct Saved {
  Tensor tensor;
  uint32_t version = 0;
  bool output = false;  // an output of the node itself, kept without history so that no cycle arises
  uint32_t output_nr = 0;
};
Saved save(const Tensor& x);  // an input; may be undefined
Saved save_output(const Tensor& y, uint32_t output_nr = 0);

// Where a gradient goes: the output `output_nr` of a node, or a leaf; neither where no gradient is wanted.
struct Edge {
  Ref<Node> node;
  Ref<TensorImpl> leaf;
  uint32_t output_nr = 0;
  explicit operator bool() const { return node || leaf; }
};
Edge edge_of(const Tensor& x);

// Functions that see, and may replace, a gradient on its way: of a leaf, or of the outputs of a node.
class Watches {
 public:
  using Hook =
      std::function<Tensor(const Tensor&)>;  // returns the gradient to use instead, or an undefined Tensor

  uint64_t add(uint32_t output_nr, Hook hook);
  void remove(uint64_t id);
  void keep(uint32_t output_nr, TensorImpl* tensor);  // writes the gradient to tensor->grad
  void forget(const TensorImpl* tensor);
  Tensor run(uint32_t output_nr, Tensor grad) const;
  bool unique() const { return refs_.load(std::memory_order_acquire) == 1; }
  template <class F>
  void each_hook(F&& f) const {
    for (const Entry& e : entries_)
      if (e.hook) f(e.hook);
  }

  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      end_in_turn(this, [](void* watches) { delete static_cast<Watches*>(watches); });
  }

 private:
  struct Entry {
    uint64_t id;
    uint32_t output_nr;
    Hook hook;
    TensorImpl* tensor;
  };
  std::atomic<uint32_t> refs_{1};
  uint64_t next_id_ = 0;
  std::vector<Entry> entries_;
};
Watches& watches_of(const Tensor& x);  // those that x's gradient passes, made at the first call
void retain_grad(const Tensor& x);

class Backward;

class Node : public Pooled {
 public:
  static constexpr int kInline = 4;

  Node(const char* name, size_t inputs, size_t outputs);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  virtual void apply(Backward& b) = 0;
  virtual void free_saved() = 0;                      // after a backward pass that does not retain the graph
  virtual const char* title() const { return name; }  // `name`, or what a user calls it
  // For the host's collector of cycles: calls visit(object, arg) for each object of the host that the node
  // owns, until one call does not return 0.
  using Visit = int (*)(void* object, void* arg);
  virtual int visit_host_objects(Visit, void*) const { return 0; }
  bool unique() const { return refs_.load(std::memory_order_acquire) == 1; }

  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release();
  Edge& edge(size_t i) { return edges_[i]; }
  const Edge& edge(size_t i) const { return edges_[i]; }
  size_t inputs() const { return inputs_; }
  size_t outputs() const { return outputs_; }

  const char* const name;
  const uint64_t sequence;  // grows with time: a node's inputs have smaller ones
  bool freed = false;
  Ref<Watches> watches;

  // Passes (engine.cpp). The one that this node is queued in, and there the gradients of its outputs so far;
  // how many are in its apply(); whether one ended with it, after which no other may begin.
  uint64_t pass = 0;
  uint32_t users = 0;
  bool spent = false;
  // Whether apply() can do with a number as dy, where no graph is made: the 1 that a pass begins with need
  // not be written into memory then, which on a device is a launch.
  bool takes_number = false;
  Tensor& pending(size_t i) { return pending_[i]; }

 private:
  std::atomic<uint32_t> refs_{1};
  const uint32_t inputs_, outputs_;
  Edge* edges_;
  Tensor* pending_;
  Edge inline_edges_[kInline];
  Tensor inline_pending_[1];
};

// What a node's backward sees: the gradients of its outputs, and where to put those of its inputs.
class Backward {
 public:
  Backward(Node& node, const Tensor* dy, Tensor* dx) : node_(node), dy_(dy), dx_(dx) {}
  const Tensor& dy(size_t i = 0) const { return dy_[i]; }  // undefined if output i took no part
  bool needs(size_t i) const { return static_cast<bool>(node_.edge(i)); }
  void set(size_t i, Tensor dx) { dx_[i] = std::move(dx); }
  Tensor get(const Saved& saved) const;
  const char* name() const { return node_.name; }
  size_t outputs() const { return node_.outputs(); }

 private:
  Node& node_;
  const Tensor* dy_;
  Tensor* dx_;
};

template <class F>
class ClosureNode final : public Node {
 public:
  ClosureNode(const char* name, size_t inputs, size_t outputs, F&& f)
      : Node(name, inputs, outputs), f_(std::move(f)) {}
  ~ClosureNode() override {
    if (!freed) f_.~F();
  }
  void apply(Backward& b) override { f_(b); }
  void free_saved() override {
    freed = true;
    f_.~F();
  }
  static void* operator new(size_t bytes) { return small_alloc(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }

 private:
  union {
    F f_;  // destroyed early by free_saved()
  };
};

void attach(Node* node, const Tensor& y, uint32_t output_nr);
void forget_history(const Tensor& x);  // x becomes a leaf: what it was made of no longer matters

template <class F>
void record(const char* name, const Tensor& y,
            std::initializer_list<std::reference_wrapper<const Tensor>> inputs, F&& f) {
  Ref<Node> node(new ClosureNode<std::decay_t<F>>(name, inputs.size(), 1, std::forward<F>(f)));
  size_t i = 0;
  for (const Tensor& x : inputs) node->edge(i++) = edge_of(x);
  attach(node.get(), y, 0);
}
// Several outputs, any number of inputs.
template <class F>
void record_many(const char* name, std::span<const Tensor> outputs, std::span<const Tensor> inputs, F&& f) {
  Ref<Node> node(new ClosureNode<std::decay_t<F>>(name, inputs.size(), outputs.size(), std::forward<F>(f)));
  for (size_t i = 0; i < inputs.size(); ++i) node->edge(i) = edge_of(inputs[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_floating(outputs[i].dtype())) attach(node.get(), outputs[i], static_cast<uint32_t>(i));
}

// For an op that is about to overwrite x: checks that it may, and returns x as it was (same memory, its own
// history), to be the input of the node whose output x becomes where the write is `recorded`.
Tensor before_in_place(const char* op, const Tensor& x, bool recorded);

// Adds the gradients of sum(outputs * grads) to the .grad of every leaf; grads[i] may be undefined for a
// scalar output.
void backward(std::span<const Tensor> outputs, std::span<const Tensor> grads, bool retain_graph,
              bool create_graph);
// Returns them for `inputs` instead, undefined where an input took no part.
std::vector<Tensor> gradients(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                              std::span<const Tensor> grads, bool retain_graph, bool create_graph);

// Supplied by csrc/ops: what the engine needs of them.
Tensor ones_like(const Tensor& x);
Tensor full(const Dims& shape, const Tensor& value, DType dtype, Device device);
Tensor clone(const Tensor& x);
Tensor accumulate(Tensor sum, const Tensor& term);  // sum + term, in sum's memory where nobody else sees it
void add_into(const Tensor& sum, const Tensor& term);  // sum += term, off the tape

}  // namespace fastnn
