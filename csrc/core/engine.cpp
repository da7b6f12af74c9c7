// backward(): nodes are taken newest first (a node's consumers are always newer), so each is reached when all
// parts of its gradient have arrived. Sums are formed in that order, which depends on the graph alone.
#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "core/autograd.h"
#include "core/hooks.h"
#include "core/trace.h"

namespace fastnn {
namespace {

// One pass at a time: nodes carry the state of the running one. A thread that has to wait lets others run
// meanwhile.
class EngineLock {
 public:
  EngineLock() {
    if (mutex().try_lock()) return;
    Unlocked scope;
    mutex().lock();
  }
  ~EngineLock() { mutex().unlock(); }
  EngineLock(const EngineLock&) = delete;
  EngineLock& operator=(const EngineLock&) = delete;

 private:
  static std::recursive_mutex& mutex() {
    static std::recursive_mutex& m = *new std::recursive_mutex;
    return m;
  }
};

struct Capture {  // an input of gradients(): where its gradient passes by
  const Node* node;
  uint32_t output_nr;
  const TensorImpl* leaf;
  Tensor grad;
};

uint64_t next_pass = 0;
thread_local std::vector<Ref<Node>> queue;  // heaps of nested passes, one behind the other; memory is kept

bool older(const Ref<Node>& a, const Ref<Node>& b) { return a->sequence < b->sequence; }

// Which nodes lead to a captured input. The others are neither run nor freed by gradients().
class Useful {
 public:
  explicit Useful(std::span<const Capture> captures) : captures_(captures) {}

  bool operator()(const Edge& edge) {
    if (edge.leaf) return captured(nullptr, edge.leaf.get());
    return edge.node && lead(edge.node.get());
  }

 private:
  bool captured(const Node* node, const TensorImpl* leaf) const {
    return std::any_of(captures_.begin(), captures_.end(),
                       [&](const Capture& c) { return node ? c.node == node : c.leaf == leaf; });
  }

  // Depth first with a stack of its own: graphs can be deeper than the call stack.
  bool lead(Node* root) {
    if (auto found = known_.find(root); found != known_.end()) return found->second;
    std::vector<std::pair<Node*, size_t>> stack{{root, 0}};
    while (!stack.empty()) {
      auto& [node, i] = stack.back();
      if (i == 0) known_[node] = captured(node, nullptr);
      if (i == node->inputs()) {
        stack.pop_back();
        if (known_[node] && !stack.empty()) known_[stack.back().first] = true;
        continue;
      }
      const Edge& edge = node->edge(i++);
      if (edge.leaf && captured(nullptr, edge.leaf.get())) known_[node] = true;
      if (!edge.node) continue;
      if (auto found = known_.find(edge.node.get()); found == known_.end())
        stack.push_back({edge.node.get(), 0});
      else if (found->second)
        known_[node] = true;
    }
    return known_[root];
  }

  const std::span<const Capture> captures_;
  std::unordered_map<const Node*, bool> known_;
};

class Pass {
 public:
  Pass(bool retain_graph, bool create_graph, std::span<Capture> captures)
      : retain_(retain_graph),
        create_(create_graph),
        captures_(captures),
        useful_(captures),
        begin_(queue.size()),
        id_(++next_pass) {}
  ~Pass() {
    for (size_t i = begin_; i < queue.size(); ++i) forget(*queue[i]);
    queue.resize(begin_);
    for (Interrupted& i : interrupted_) {
      i.node->pass = i.pass;
      for (size_t k = 0; k < i.node->outputs(); ++k) i.node->pending(k) = std::move(i.pending[k]);
    }
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  void send(const Edge& edge, Tensor grad) {
    if (!grad.defined() || (!captures_.empty() && !useful_(edge))) return;
    if (edge.leaf) return arrive_at_leaf(edge.leaf, std::move(grad));
    if (!edge.node) return;
    Node& node = *edge.node;
    if (node.pass != id_) {
      if (node.pass != 0) set_aside(edge.node);
      node.pass = id_;
      queue.push_back(edge.node);
      std::push_heap(queue.begin() + static_cast<ptrdiff_t>(begin_), queue.end(), older);
    }
    add(node.pending(edge.output_nr), std::move(grad));
  }

  void run() {
    run_nodes();
    // Hooks of a leaf see the whole gradient of the pass, which has arrived only now.
    while (!watched_.empty()) {
      const Watched last = std::move(watched_.back());
      watched_.pop_back();
      keep(last.leaf, last.leaf->watches->run(0, last.grad));
    }
  }

 private:
  struct Watched {
    Ref<TensorImpl> leaf;
    Tensor grad;
  };

  // A node in the hands of an outer pass, from whose hook or Function this one was started.
  struct Interrupted {
    Ref<Node> node;
    uint64_t pass;
    std::vector<Tensor> pending;
  };

  void set_aside(const Ref<Node>& node) {
    interrupted_.push_back({node, node->pass, {}});
    for (size_t i = 0; i < node->outputs(); ++i)
      interrupted_.back().pending.push_back(std::move(node->pending(i)));
  }

  void run_nodes() {
    while (queue.size() > begin_) {
      std::pop_heap(queue.begin() + static_cast<ptrdiff_t>(begin_), queue.end(), older);
      const Ref<Node> node = std::move(queue.back());
      queue.pop_back();
      visit(*node);
    }
  }

  void visit(Node& node) {
    if (node.watches)
      for (uint32_t i = 0; i < node.outputs(); ++i)
        if (node.pending(i).defined()) node.pending(i) = node.watches->run(i, std::move(node.pending(i)));
    for (Capture& c : captures_)
      if (c.node == &node && node.pending(c.output_nr).defined()) c.grad = node.pending(c.output_nr);
    if (node.freed) {
      forget(node);
      fail(ErrorKind::runtime,
           "backward: the graph of this result has been used and freed already; pass retain_graph=True to "
           "the first backward if a second is wanted");
    }
    constexpr size_t kFew = 8;
    Tensor few[kFew];
    std::vector<Tensor> many;
    if (node.inputs() > kFew) many.resize(node.inputs());
    Tensor* dx = node.inputs() > kFew ? many.data() : few;
    Backward b(node, dx);
    try {
      BackwardScope scope(node);
      if (scope.heard())
        for (uint32_t i = 0; i < node.outputs(); ++i) scope.reads(node.pending(i));
      node.apply(b);
      scope.writes(std::span(dx, node.inputs()));
    } catch (...) {
      forget(node);
      throw;
    }
    forget(node);
    for (size_t i = 0; i < node.inputs(); ++i)
      if (node.edge(i)) send(node.edge(i), std::move(dx[i]));
    if (!retain_) node.free_saved();
  }

  void arrive_at_leaf(const Ref<TensorImpl>& leaf, Tensor grad) {
    if (!leaf->watches) return keep(leaf, std::move(grad));
    for (Watched& w : watched_)
      if (w.leaf.get() == leaf.get()) return add(w.grad, std::move(grad));
    watched_.push_back({leaf, std::move(grad)});
  }

  void keep(const Ref<TensorImpl>& leaf, Tensor grad) {
    if (!captures_.empty()) {
      for (Capture& c : captures_)
        if (c.leaf == leaf.get()) add(c.grad, grad);
      return;
    }
    Tensor sum(leaf->grad);
    if (!sum.defined()) {
      // A gradient that nobody else sees becomes .grad; a shared one (an expanded view, say) is copied.
      const bool take = create_ || (grad.sole_owner() && grad.is_dense());
      leaf->grad = take ? grad.ref() : clone(grad).ref();
    } else if (create_) {
      leaf->grad = accumulate(std::move(sum), grad).ref();
    } else {
      add_into(sum, grad);
    }
  }

  static void add(Tensor& sum, Tensor term) {
    sum = sum.defined() ? accumulate(std::move(sum), term) : std::move(term);
  }

  static void forget(Node& node) {
    node.pass = 0;
    for (size_t i = 0; i < node.outputs(); ++i) node.pending(i) = Tensor();
  }

  const bool retain_, create_;
  const std::span<Capture> captures_;
  Useful useful_;
  std::vector<Watched> watched_;
  std::vector<Interrupted> interrupted_;
  const size_t begin_;
  const uint64_t id_;
};

void run_pass(std::span<const Tensor> outputs, std::span<const Tensor> grads, bool retain_graph,
              bool create_graph, std::span<Capture> captures) {
  EngineLock lock;
  GradMode mode(create_graph);
  Pass pass(retain_graph || create_graph, create_graph, captures);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    check(y.requires_grad(), ErrorKind::runtime,
          "backward: the tensor does not require grad and was not made from one that does");
    Tensor dy = i < grads.size() ? grads[i] : Tensor();
    if (!dy.defined()) {
      check(y.numel() == 1, ErrorKind::runtime, "backward: a gradient must be given for an output of shape ",
            y.shape(), "; only for a single element is it 1 by itself");
      dy = ones_like(y);
    }
    if (dy.impl()->weak && dy.dim() == y.dim()) dy = full(y.shape(), dy, y.dtype(), y.device());  // a number
    check_value(dy.shape() == y.shape(), "backward: gradient of shape ", dy.shape(),
                " given for an output of shape ", y.shape());
    check_type(dy.dtype() == y.dtype(), "backward: gradient of dtype ", dy.dtype(),
               " given for an output of ", y.dtype());
    check(dy.device() == y.device(), ErrorKind::runtime, "backward: gradient on ", dy.device(),
          " given for an output on ", y.device(), "; move it with .to()");
    pass.send(edge_of(y), std::move(dy));
  }
  pass.run();
}

}  // namespace

void backward(std::span<const Tensor> outputs, std::span<const Tensor> grads, bool retain_graph,
              bool create_graph) {
  run_pass(outputs, grads, retain_graph, create_graph, {});
}

std::vector<Tensor> gradients(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                              std::span<const Tensor> grads, bool retain_graph, bool create_graph) {
  check_value(!inputs.empty(), "grad: no inputs were given");
  std::vector<Capture> captures;
  for (const Tensor& x : inputs) {
    check(x.requires_grad(), ErrorKind::runtime, "grad: an input does not require grad");
    captures.push_back({x.impl()->grad_fn.get(), x.impl()->output_nr, x.is_leaf() ? x.impl() : nullptr, {}});
  }
  run_pass(outputs, grads, retain_graph, create_graph, captures);
  std::vector<Tensor> result;
  for (Capture& c : captures) result.push_back(std::move(c.grad));
  return result;
}

}  // namespace fastnn
