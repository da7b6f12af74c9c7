// Layer and batch normalisation: h = (x - mean) rstd, y = h weight + bias. Forward keeps mean and rstd; the
// fused backward computes h again from them. A gradient that is to be differentiated itself is built from
// differentiable ops instead, from x on.
#include "ops/norm/norm.h"
#include "backend/norm.h"

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/activation.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

Tensor dense(const Tensor& x) {
  GradMode off(false);
  return x.defined() ? contiguous(x) : x;
}
void* memory(const Tensor& x) { return x.defined() ? x.data() : nullptr; }

void check_parameter(const char* op, const char* name, const Tensor& w, const Tensor& x, const Dims& shape) {
  if (!w.defined()) return;
  check_same_dtype(op, "input", x, name, w);
  check_same_device(op, x, w);
  check_value(w.shape() == shape, op, ": ", name, " of shape ", w.shape(), " must have shape ", shape,
              " for an input of shape ", x.shape());
}

// ---- from differentiable ops

struct Normalized {
  Tensor h, rstd;
};
Normalized normalize(const Tensor& x, const Dims& dims, double eps) {
  const Tensor d = sub(x, mean(x, dims, true)), variance = mean(mul(d, d), dims, true);
  const Tensor rstd = div(1.0, sqrt(add(variance, eps)));
  return {mul(d, rstd), rstd};
}
// dx for the gradient g of h, where mean and variance are those of x.
Tensor gradient_through(const Normalized& n, const Tensor& g, const Dims& dims) {
  const Tensor along = mul(n.h, mean(mul(g, n.h), dims, true));
  return mul(n.rstd, sub(sub(g, mean(g, dims, true)), along));
}

// ---- layer normalisation

struct Layer {
  Dims shape;         // of weight and bias
  Dims inner, outer;  // x's dimensions inside and outside it
  LayerNormParams p{};
};

Layer layer_of(const Tensor& x, const Dims& shape, const Tensor& weight, const Tensor& bias, double eps) {
  check_defined("layer_norm", "input", x);
  check_floating("layer_norm", "input", x);
  check_value(!shape.empty(), "layer_norm: normalized_shape must have at least one dimension");
  Layer l;
  l.shape = shape;
  l.p.rows = l.p.size = 1;
  const int first = x.dim() - shape.size();
  bool fits = first >= 0;
  for (int i = 0; fits && i < x.dim(); ++i) {
    (i < first ? l.outer : l.inner).push_back(i);
    (i < first ? l.p.rows : l.p.size) *= x.size(i);
    fits = i < first || x.size(i) == shape[i - first];
  }
  check_value(fits, "layer_norm: normalized_shape is ", shape, ", so the input's last dimensions must be ",
              shape, ", got an input of shape ", x.shape());
  check_parameter("layer_norm", "weight", weight, x, shape);
  check_parameter("layer_norm", "bias", bias, x, shape);
  l.p.eps = eps;
  return l;
}

void layer_backward(Backward& g, const Layer& l, const Tensor& x, const Tensor& weight, const Tensor& mean,
                    const Tensor& rstd) {
  const char* op = "layer_norm";
  const Tensor x_ = dense(x), w_ = dense(weight), dy = dense(g.dy());
  const Tensor none, dx = g.needs(0) ? empty(op, x.shape(), x.dtype(), x.device()) : none;
  auto parameter = [&](size_t i) {
    if (!g.needs(i)) return none;
    return x.numel() > 0 ? empty(op, l.shape, x.dtype(), x.device()) : zeros(l.shape, x.dtype(), x.device());
  };
  const Tensor dweight = parameter(1), dbias = parameter(2);
  LayerNormParams p = l.p;
  p.x = x_.data(), p.weight = memory(w_), p.mean = mean.data(), p.rstd = rstd.data(), p.dy = dy.data();
  p.dx = memory(dx), p.dweight = memory(dweight), p.dbias = memory(dbias);
  if (x.numel() > 0) launch<&NormTable::layer_norm_backward>(op, x_, p);
  if (g.needs(0)) g.set(0, dx);
  if (g.needs(1)) g.set(1, dweight);
  if (g.needs(2)) g.set(2, dbias);
}

void layer_backward_again(Backward& g, const Layer& l, const Tensor& x, const Tensor& weight) {
  const Normalized n = normalize(x, l.inner, l.p.eps);
  auto over_rows = [&](const Tensor& v) { return l.outer.empty() ? v : sum(v, l.outer); };
  if (g.needs(0)) g.set(0, gradient_through(n, weight.defined() ? mul(g.dy(), weight) : g.dy(), l.inner));
  if (g.needs(1)) g.set(1, over_rows(mul(g.dy(), n.h)));
  if (g.needs(2)) g.set(2, over_rows(g.dy()));
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Dims& shape, const Tensor& weight, const Tensor& bias, double eps) {
  const char* op = "layer_norm";
  Layer l = layer_of(x, shape, weight, bias, eps);
  OpScope scope(op, x, weight, bias);
  scope.with("normalized_shape", shape);
  scope.with("eps", eps);
  const Tensor x_ = dense(x), w_ = dense(weight), b_ = dense(bias);
  const Tensor y = empty(op, x.shape(), x.dtype(), x.device());
  const Tensor mean = empty(op, {l.p.rows}, x.dtype(), x.device()),
               rstd = empty(op, {l.p.rows}, x.dtype(), x.device());
  LayerNormParams p = l.p;
  p.x = x_.data(), p.weight = memory(w_), p.bias = memory(b_);
  p.mean = mean.data(), p.rstd = rstd.data(), p.y = y.data();
  if (x.numel() > 0) launch<&NormTable::layer_norm>(op, x_, p);
  if (wants_grad(x, weight, bias))
    record(op, y, {x, weight, bias}, [l, x = save(x), weight = save(weight), mean, rstd](Backward& g) {
      if (grad_enabled()) return layer_backward_again(g, l, g.get(x), g.get(weight));
      layer_backward(g, l, g.get(x), g.get(weight), mean, rstd);
    });
  return scope.returns(y);
}

// ---- batch normalisation

namespace {

struct Batch {
  Dims reduced;    // all dimensions but the channels'
  Dims broadcast;  // the shape in which C elements broadcast to x
  BatchNormParams p{};
};

Batch batch_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormOptions& o) {
  const char* op = "batch_norm";
  check_defined(op, "input", x);
  check_floating(op, "input", x);
  check_value(x.dim() >= 2, op, ": input must have shape (N, C, ...), got ", x.shape());
  Batch b;
  b.p.n = x.size(0), b.p.c = x.size(1), b.p.inner = 1;
  b.broadcast = Dims(x.dim(), 1);
  b.broadcast[1] = x.size(1);
  for (int i = 0; i < x.dim(); ++i) {
    if (i != 1) b.reduced.push_back(i);
    if (i > 1) b.p.inner *= x.size(i);
  }
  const Dims channels{b.p.c};
  check_parameter(op, "weight", weight, x, channels);
  check_parameter(op, "bias", bias, x, channels);
  check_parameter(op, "running_mean", o.running_mean, x, channels);
  check_parameter(op, "running_var", o.running_var, x, channels);
  check_value(o.training || (o.running_mean.defined() && o.running_var.defined()), op,
              ": running_mean and running_var must be given when not training");
  check_value(!o.training || b.p.n * b.p.inner != 1, op,
              ": Expected more than 1 value per channel when training, got input size ", x.shape());
  b.p.eps = o.eps, b.p.momentum = o.momentum;
  b.p.training = o.training;
  b.p.activation = o.activation;
  return b;
}

struct BatchTensors {
  Tensor mean, rstd, y;
};
BatchTensors run_batch(const Batch& b, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       const Tensor& running_mean, const Tensor& running_var) {
  const char* op = "batch_norm";
  const Tensor x_ = dense(x), w_ = dense(weight), b_ = dense(bias);
  const Dims channels{b.p.c};
  const BatchTensors t{empty(op, channels, x.dtype(), x.device()), empty(op, channels, x.dtype(), x.device()),
                       empty(op, x.shape(), x.dtype(), x.device())};
  BatchNormParams p = b.p;
  p.x = x_.data(), p.weight = memory(w_), p.bias = memory(b_);
  p.running_mean = memory(running_mean), p.running_var = memory(running_var);
  p.mean = t.mean.data(), p.rstd = t.rstd.data(), p.y = t.y.data();
  if (x.numel() > 0) launch<&NormTable::batch_norm>(op, x_, p);
  return t;
}

// A running statistic as the kernel wants it; after training, what it wrote goes back.
Tensor before_update(const Tensor& running, bool training) {
  if (running.defined() && training) before_in_place("batch_norm", running, false);
  return dense(running);
}
void after_update(const Tensor& running, const Tensor& updated, bool training) {
  if (!running.defined() || !training) return;
  if (!running.is_contiguous()) copy_into(running, updated);
  running.bump_version();
}

struct BatchSaved {
  Saved x, weight, bias;
  Tensor mean, rstd;
};

void batch_backward(Backward& g, const Batch& b, const BatchSaved& s) {
  const char* op = "batch_norm";
  const Tensor x = g.get(s.x), x_ = dense(x), w_ = dense(g.get(s.weight)), b_ = dense(g.get(s.bias)),
               dy = dense(g.dy());
  const Tensor none, dx = g.needs(0) ? empty(op, x.shape(), x.dtype(), x.device()) : none;
  auto parameter = [&](size_t i) {
    if (!g.needs(i)) return none;
    return x.numel() > 0 ? empty(op, {b.p.c}, x.dtype(), x.device()) : zeros({b.p.c}, x.dtype(), x.device());
  };
  const Tensor dweight = parameter(1), dbias = parameter(2);
  BatchNormParams p = b.p;
  p.x = x_.data(), p.weight = memory(w_), p.bias = memory(b_), p.dy = dy.data();
  p.mean = s.mean.data(), p.rstd = s.rstd.data();
  p.dx = memory(dx), p.dweight = memory(dweight), p.dbias = memory(dbias);
  if (x.numel() > 0) launch<&NormTable::batch_norm_backward>(op, x_, p);
  if (g.needs(0)) g.set(0, dx);
  if (g.needs(1)) g.set(1, dweight);
  if (g.needs(2)) g.set(2, dbias);
}

void batch_backward_again(Backward& g, const Batch& b, const BatchSaved& s) {
  const Tensor x = g.get(s.x), weight = g.get(s.weight), bias = g.get(s.bias);
  auto per_channel = [&](const Tensor& v) { return reshape(v, b.broadcast); };
  Normalized n;
  if (b.p.training)
    n = normalize(x, b.reduced, b.p.eps);
  else
    n.rstd = per_channel(s.rstd), n.h = mul(sub(x, per_channel(s.mean)), n.rstd);
  Tensor dz = g.dy(), cut;
  if (b.p.activation == Activation::relu) {
    {
      GradMode off(false);
      Tensor z = weight.defined() ? mul(n.h, per_channel(weight)) : n.h;
      if (bias.defined()) z = add(z, per_channel(bias));
      cut = le(z, 0.0);
    }
    dz = where(cut, 0.0, dz);
  }
  const Tensor dh = weight.defined() ? mul(dz, per_channel(weight)) : dz;
  if (g.needs(0)) g.set(0, b.p.training ? gradient_through(n, dh, b.reduced) : mul(dh, n.rstd));
  if (g.needs(1)) g.set(1, sum(mul(dz, n.h), b.reduced));
  if (g.needs(2)) g.set(2, sum(dz, b.reduced));
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const BatchNormOptions& o) {
  const Batch b = batch_of(x, weight, bias, o);
  OpScope scope("batch_norm", x, o.running_mean, o.running_var, weight, bias);
  scope.with("training", o.training);
  scope.with("momentum", o.momentum);
  scope.with("eps", o.eps);
  scope.with("activation", name_of(o.activation));
  const Tensor running_mean = before_update(o.running_mean, o.training),
               running_var = before_update(o.running_var, o.training);
  const BatchTensors t = run_batch(b, x, weight, bias, running_mean, running_var);
  after_update(o.running_mean, running_mean, o.training);
  after_update(o.running_var, running_var, o.training);
  if (wants_grad(x, weight, bias))
    record("batch_norm", t.y, {x, weight, bias},
           [b, s = BatchSaved{save(x), save(weight), save(bias), t.mean, t.rstd}](Backward& g) {
             grad_enabled() ? batch_backward_again(g, b, s) : batch_backward(g, b, s);
           });
  scope.writes(t.y);
  for (const Tensor& running : {o.running_mean, o.running_var})
    if (o.training && running.defined()) scope.writes(running);
  return t.y;
}

}  // namespace fastnn
