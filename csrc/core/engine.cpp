// backward(): nodes are taken newest first (a node's consumers are always newer), so each is reached when all
// parts of its gradient have arrived. Sums are formed in that order, which depends on the graph alone.
//
// Any number of passes may be under way, on other threads or nested in one another's hooks. A pass holds the
// host's lock and gives it away in kernels and where it calls the host's functions; between these it is
// alone, which is what the plain fields of nodes rely on. None waits for another: the state of a pass is in
// the nodes that it was the first to reach, and beside them for those that another pass has in hand.
#include <algorithm>
#include <unordered_map>

#include "core/autograd.h"
#include "core/grad_lock.h"
#include "core/trace.h"

namespace fastnn {
namespace {

struct Capture {  // an input of gradients(): where its gradient passes by
  const Node* node;
  uint32_t output_nr;
  const TensorImpl* leaf;
  Tensor grad;
};

std::atomic<uint64_t> next_pass{0};
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
        id_(next_pass.fetch_add(1, std::memory_order_relaxed) + 1) {}
  ~Pass() {
    for (size_t i = begin_; i < queue.size(); ++i) forget(*queue[i]);
    queue.resize(begin_);
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  void send(const Edge& edge, Tensor grad) {
    if (!grad.defined() || (!captures_.empty() && !useful_(edge))) return;
    if (edge.leaf) return arrive_at_leaf(edge.leaf, std::move(grad));
    if (!edge.node) return;
    add(pending(edge.node)[edge.output_nr], std::move(grad));
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

  // The gradients of a node's outputs so far; a node that is met for the first time is queued.
  Tensor* pending(const Ref<Node>& node) {
    if (node->pass == id_) return &node->pending(0);
    if (!aside_.empty())
      if (auto found = aside_.find(node.get()); found != aside_.end()) return found->second.data();
    queue.push_back(node);
    std::push_heap(queue.begin() + static_cast<ptrdiff_t>(begin_), queue.end(), older);
    if (node->pass != 0) return aside_.emplace(node.get(), node->outputs()).first->second.data();
    node->pass = id_;
    return &node->pending(0);
  }
  Tensor* pending_of(Node& node) {
    return node.pass == id_ ? &node.pending(0) : aside_.find(&node)->second.data();
  }
  void forget(Node& node) {
    if (node.pass != id_) {
      aside_.erase(&node);
      return;
    }
    node.pass = 0;
    for (size_t i = 0; i < node.outputs(); ++i) node.pending(i) = Tensor();
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
    Tensor* const dy = pending_of(node);
    if (node.watches)
      for (uint32_t i = 0; i < node.outputs(); ++i)
        if (dy[i].defined()) dy[i] = node.watches->run(i, std::move(dy[i]));
    for (Capture& c : captures_)
      if (c.node == &node && dy[c.output_nr].defined()) c.grad = dy[c.output_nr];
    if (node.spent) {
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
    try {
      const Use use(node);
      Backward b(node, dy, dx);
      BackwardScope scope(node);
      if (scope.heard())
        for (uint32_t i = 0; i < node.outputs(); ++i) scope.reads(dy[i]);
      node.apply(b);
      scope.writes(std::span(dx, node.inputs()));
    } catch (...) {
      forget(node);
      throw;
    }
    forget(node);
    for (size_t i = 0; i < node.inputs(); ++i)
      if (node.edge(i)) send(node.edge(i), std::move(dx[i]));
    if (retain_) return;
    node.spent = true;
    if (node.users == 0) node.free_saved();
  }

  // What a node has saved stays as long as a pass is in its apply(): another may end with the node meanwhile.
  class Use {
   public:
    explicit Use(Node& node) : node_(node) { ++node.users; }
    ~Use() {
      if (--node_.users == 0 && node_.spent) node_.free_saved();
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Node& node_;
  };

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
    const GradLock lock(leaf.get());
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

  const bool retain_, create_;
  const std::span<Capture> captures_;
  Useful useful_;
  std::vector<Watched> watched_;
  std::unordered_map<const Node*, std::vector<Tensor>> aside_;  // of nodes that another pass has in hand
  const size_t begin_;
  const uint64_t id_;
};

void run_pass(std::span<const Tensor> outputs, std::span<const Tensor> grads, bool retain_graph,
              bool create_graph, std::span<Capture> captures) {
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
      const Node* node = edge_of(y).node.get();
      const bool number = node && node->takes_number && !node->watches && !create_graph && captures.empty();
      if (number) {
        pass.send(edge_of(y), scalar(1.0));
        continue;
      }
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
