#include "backend/softmax.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/reduce/reduce.h"
#include "ops/softmax/softmax.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// Logits as rows x classes, and the labels of the rows.
struct Rows {
  Tensor x;        // (rows, classes)
  Tensor labels;   // int64 (rows), contiguous
  IndexRule rule;  // of the labels
};

Tensor classes_last(const Tensor& x) {
  if (x.dim() == 1) return unsqueeze(x, 0);
  if (x.dim() == 2) return x;
  Dims order;
  for (int i = 0; i < x.dim(); ++i)
    if (i != 1) order.push_back(i);
  order.push_back(1);
  return reshape(permute(x, order), {-1, x.size(1)});
}

Dims without_classes(const Tensor& x) {
  Dims shape = x.shape();
  shape.erase(x.dim() == 1 ? 0 : 1);
  return shape;
}

void check_weight(const char* op, const Tensor& weight, const Tensor& x, int64_t classes) {
  if (!weight.defined()) return;
  check_same_dtype(op, "input", x, "weight", weight);
  check_same_device(op, x, weight);
  check_value(weight.dim() == 1 && weight.size(0) == classes, op, ": weight of shape ", weight.shape(),
              " must have one element for each of ", classes, " classes");
}

void check_input(const char* op, const Tensor& x, const Tensor& target) {
  check_defined(op, "input", x);
  check_defined(op, "target", target);
  check_floating(op, "input", x);
  check_same_device(op, x, target);
  check_value(x.dim() > 0 && x.size(x.dim() == 1 ? 0 : 1) > 0, op,
              ": input must be (classes) or (N, classes, ...), with classes > 0, got ", x.shape());
}

Rows rows_of(const char* op, const Tensor& x, const Tensor& target, int64_t ignore_index) {
  const bool keeps = wants_grad(x);
  check_type(
      target.dtype() == DType::int64 || target.dtype() == DType::int32 || target.dtype() == DType::uint8, op,
      ": target must hold classes as integers, got ", target.dtype());
  check_value(target.shape() == without_classes(x), op, ": target of shape ", target.shape(),
              " does not match an input of shape ", x.shape(), ": it must be ", without_classes(x));
  Rows rows;
  rows.x = classes_last(x);
  rows.rule = {op, rows.x.size(1), IndexRule::kLabels, ignore_index};
  GradMode off(false);
  // Memory of its own where the tape keeps it: on the CPU NumPy may share the target's, and write it unseen.
  const Tensor labels = reshape(cast(target, DType::int64), {rows.x.size(0)});
  const bool unseen = target.dtype() == DType::int64 && target.device().type == DeviceType::cpu;
  rows.labels = !keeps || !unseen ? contiguous(labels) : clone(labels);
  return rows;
}

// (softmax(x) - one_hot(label)) dloss, 0 in ignored rows; from differentiable ops.
Tensor composed_gradient(const Tensor& x, const Tensor& labels, const IndexRule& rule, const Tensor& dloss) {
  const Tensor kept = ne(labels, rule.ignore_index), safe = where(kept, labels, int64_t{0});
  const Tensor hot = scatter_along(x.shape(), 1, unsqueeze(safe, 1), unsqueeze(cast(kept, x.dtype()), 1));
  return mul(sub(softmax(x, 1), hot), unsqueeze(where(kept, dloss, 0.0), 1));
}

// The usual case in one kernel each way. y is the rows' losses, their sum, or the mean of those that count.
Tensor fused_cross_entropy(const Rows& r, Reduction reduction) {
  const char* op = "cross_entropy";
  const int64_t n = r.x.size(0), classes = r.x.size(1);
  const bool whole = reduction != Reduction::none, mean = reduction == Reduction::mean;
  const Tensor losses = empty(op, {n}, r.x.dtype(), r.x.device()),
               sums = empty(op, {n, 2}, r.x.dtype(), r.x.device());
  Tensor y = losses, counted;
  if (whole) {
    y = empty(op, {}, r.x.dtype(), r.x.device());
    counted = empty(op, {}, DType::int64, r.x.device());
  }
  {
    GradMode off(false);
    const Tensor logits = contiguous(r.x);
    CrossEntropyParams p{.rows = n,
                         .classes = classes,
                         .logits = logits.data(),
                         .labels = r.labels.data<int64_t>(),
                         .rule = r.rule,
                         .log_sum_exp = sums.data(),
                         .mean = mean,
                         .counted = whole ? counted.data<int64_t>() : nullptr,
                         .loss = losses.data(),
                         .total = whole ? y.data() : nullptr,
                         .dloss = nullptr,
                         .dloss_stride = 0,
                         .dlogits = nullptr};
    if (n > 0 || whole) launch<&SoftmaxTable::cross_entropy>(op, logits, p);
  }
  if (!wants_grad(r.x)) return y;
  record(op, y, {r.x},
         [x = save(r.x), labels = save(r.labels), rule = r.rule, sums, counted, whole, mean](Backward& g) {
           const char* op = "cross_entropy";
           const Tensor x_ = g.get(x), labels_ = g.get(labels);
           const int64_t n = x_.size(0), classes = x_.size(1);
           if (grad_enabled()) {
             Tensor dy = g.dy();
             if (mean) dy = mul(dy, div(1.0, cast(counted, dy.dtype())));
             return g.set(0,
                          composed_gradient(x_, labels_, rule, whole ? expand(reshape(dy, {1}), {n}) : dy));
           }
           const Tensor logits = contiguous(x_), dloss = whole ? g.dy() : contiguous(g.dy());
           const bool one = dloss.impl()->weak;
           Tensor dx = empty(op, {n, classes}, x_.dtype(), x_.device());
           CrossEntropyParams p{.rows = n,
                                .classes = classes,
                                .logits = logits.data(),
                                .labels = labels_.data<int64_t>(),
                                .rule = rule,
                                .log_sum_exp = sums.data(),
                                .mean = mean,
                                .counted = whole ? counted.data<int64_t>() : nullptr,
                                .loss = nullptr,
                                .total = nullptr,
                                .dloss = one ? nullptr : dloss.data(),
                                .dloss_stride = whole ? 0 : 1,
                                .dlogits = dx.data()};
           if (n > 0) launch<&SoftmaxTable::cross_entropy_backward>(op, logits, p);
           g.set(0, dx);
         });
  y.impl()->grad_fn->takes_number = whole;
  return y;
}

// Losses that are 0 where rows do not count, brought together; `weights` is what each counts in the mean.
Tensor reduced(const Tensor& losses, const Tensor& weights, Reduction reduction, const Dims& shape) {
  if (reduction == Reduction::none) return reshape(losses, shape);
  const Tensor total = sum(losses);
  return reduction == Reduction::sum ? total : div(total, sum(weights));
}

// From differentiable ops: log-probabilities (rows, classes), class weights, smoothing.
Tensor composed_nll(const Rows& r, const Tensor& log_p, const Tensor& weight, double smoothing,
                    Reduction reduction, const Dims& shape) {
  const Tensor kept = ne(r.labels, r.rule.ignore_index), safe = where(kept, r.labels, int64_t{0});
  const Tensor picked = squeeze(gather(log_p, 1, unsqueeze(safe, 1), r.rule), 1);
  Tensor counts = cast(kept, log_p.dtype());
  if (weight.defined()) counts = mul(index(weight, {safe}), counts);
  // where() rather than a product with 0: an infinite loss of an ignored row must not become NaN.
  Tensor losses = where(kept, neg(mul(picked, counts)), 0.0);
  if (smoothing > 0) {
    const Tensor spread = neg(sum(weight.defined() ? mul(log_p, weight) : log_p, Dims{1}));
    const double share = smoothing / static_cast<double>(log_p.size(1));
    losses = add(mul(losses, 1 - smoothing), where(kept, mul(spread, share), 0.0));
  }
  return reduced(losses, counts, reduction, shape);
}

// target is a distribution over the classes.
Tensor soft_cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight,
                          const CrossEntropyOptions& o) {
  check_same_dtype("cross_entropy", "input", x, "target", target);
  const Tensor log_p = log_softmax(classes_last(x), 1);
  const int64_t classes = log_p.size(1);
  Tensor q = classes_last(target);
  if (o.label_smoothing > 0)
    q = add(mul(q, 1 - o.label_smoothing), o.label_smoothing / static_cast<double>(classes));
  const Tensor terms = mul(q, weight.defined() ? mul(log_p, weight) : log_p);
  const Tensor losses = neg(sum(terms, Dims{1}));
  if (o.reduction == Reduction::none) return reshape(losses, without_classes(x));
  return o.reduction == Reduction::sum ? sum(losses) : mean(losses);
}

}  // namespace

Tensor cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight,
                     const CrossEntropyOptions& o) {
  const char* op = "cross_entropy";
  check_input(op, x, target);
  check_weight(op, weight, x, x.size(x.dim() == 1 ? 0 : 1));
  check_value(o.label_smoothing >= 0 && o.label_smoothing <= 1, op,
              ": label_smoothing must be between 0 and 1, got ", o.label_smoothing);
  OpScope scope(op, x, target, weight);
  scope.with("ignore_index", o.ignore_index);
  scope.with("reduction", name_of(o.reduction));
  scope.with("label_smoothing", o.label_smoothing);
  if (is_floating(target.dtype()) && target.shape() == x.shape())
    return scope.returns(soft_cross_entropy(x, target, weight, o));
  const Rows rows = rows_of(op, x, target, o.ignore_index);
  if (weight.defined() || o.label_smoothing > 0)
    return scope.returns(
        composed_nll(rows, log_softmax(rows.x, 1), weight, o.label_smoothing, o.reduction, target.shape()));
  const Tensor y = fused_cross_entropy(rows, o.reduction);
  return scope.returns(o.reduction == Reduction::none ? reshape(y, target.shape()) : y);
}

Tensor nll_loss(const Tensor& x, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                Reduction reduction) {
  check_input("nll_loss", x, target);
  check_weight("nll_loss", weight, x, x.size(x.dim() == 1 ? 0 : 1));
  OpScope scope("nll_loss", x, target, weight);
  scope.with("ignore_index", ignore_index);
  scope.with("reduction", name_of(reduction));
  const Rows rows = rows_of("nll_loss", x, target, ignore_index);
  return scope.returns(composed_nll(rows, rows.x, weight, 0, reduction, target.shape()));
}

// y = scale * sum of (x - target)^2, or the squares; dx = 2 scale (x - target) dy
Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  const char* op = "mse_loss";
  check_defined(op, "input", x);
  check_defined(op, "target", target);
  check_floating(op, "input", x);
  check_same_dtype(op, "input", x, "target", target);
  check_same_device(op, x, target);
  check_value(x.shape() == target.shape(), op, ": input ", x.shape(), " and target ", target.shape(),
              " must have equal shapes");
  OpScope scope(op, x, target);
  scope.with("reduction", name_of(reduction));
  Tensor difference, y;
  {
    GradMode off(false);
    difference = sub(x, target);
    y = mul(difference, difference);
    if (reduction == Reduction::sum) y = sum(y);
    if (reduction == Reduction::mean) y = mean(y);
  }
  if (!wants_grad(x, target)) return scope.returns(std::move(y));
  const double scale = reduction == Reduction::mean ? 2 / static_cast<double>(x.numel()) : 2;
  record(op, y, {x, target}, [x = save(x), t = save(target), difference, scale](Backward& g) {
    const Tensor d = grad_enabled() ? sub(g.get(x), g.get(t)) : difference;
    const Tensor dx = mul(d, mul(g.dy(), scale));
    if (g.needs(0)) g.set(0, dx);
    if (g.needs(1)) g.set(1, neg(dx));
  });
  return scope.returns(std::move(y));
}

}  // namespace fastnn
