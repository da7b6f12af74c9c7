#include "ops/optim/optim.h"
#include "backend/optim.h"

#include "ops/elementwise/copy.h"
#include "ops/support.h"

namespace fastnn {
namespace {

void check_list(const char* op, const char* name, const Tensors& list, const Tensors& params) {
  check_value(list.size() == params.size(), op, ": ", params.size(), " parameters but ", list.size(), " ",
              name);
  for (size_t i = 0; i < list.size(); ++i) {
    const Tensor& t = list[i];
    const Tensor& w = params[i];
    check_type(t.defined(), op, ": ", name, "[", i, "] is None");
    check_value(t.shape() == w.shape(), op, ": ", name, "[", i, "] has shape ", t.shape(), ", its parameter ",
                w.shape());
    check_type(t.dtype() == w.dtype(), op, ": ", name, "[", i, "] is ", t.dtype(), ", its parameter ",
               w.dtype());
    check(t.device() == w.device(), ErrorKind::runtime, op, ": ", name, "[", i, "] is on ", t.device(),
          ", its parameter on ", w.device());
  }
}

void check_params(const char* op, const Tensors& params) {
  for (size_t i = 0; i < params.size(); ++i) {
    check_type(params[i].defined(), op, ": parameter ", i, " is None");
    check_floating(op, "a parameter", params[i]);
    check_value(params[i].is_dense(), op, ": parameter ", i,
                " is a view with gaps; optimise the tensor it shows");
    before_in_place(op, params[i], false);
  }
}

// The memory of `t` in the order of w's elements: state is written, so it must lie that way; gradients are
// copied.
void* state_memory(const char* op, const char* name, size_t i, const Tensor& t, const Tensor& w) {
  check_value(t.strides() == w.strides() || (t.is_contiguous() && w.is_contiguous()), op, ": ", name, "[", i,
              "] is laid out differently in memory than its parameter; make it with zeros_like(parameter)");
  before_in_place(op, t, false);
  return t.data();
}
Tensor grad_like(const Tensor& g, const Tensor& w) {
  if (g.strides() == w.strides() || (g.is_contiguous() && w.is_contiguous())) return g;
  Tensor y = empty_like(w);
  copy_into(y, g);
  return y;
}

// Whether params[i] is the first on its device.
bool opens_device(const Tensors& params, size_t i) {
  for (size_t k = 0; k < i; ++k)
    if (params[k].device() == params[i].device()) return false;
  return true;
}

// Launches the kernel once per device and dtype that occur. `p` lacks only the tensors.
template <auto Row, class Params>
void step(const char* op, const Tensors& params, const Tensors& grads, const Tensors* state1,
          const Tensors* state2, Params p) {
  GradMode off(false);
  thread_local std::vector<OptimTensor> list;  // their memory serves again at the next step
  thread_local Tensors dense;
  const auto launch_for = [&](DType dtype, Device device) {
    list.clear();
    dense.clear();
    for (size_t i = 0; i < params.size(); ++i) {
      const Tensor& w = params[i];
      if (w.dtype() != dtype || w.device() != device || w.numel() == 0) continue;
      dense.push_back(grad_like(grads[i], w));
      list.push_back({w.data(), dense.back().data(),
                      state1 ? state_memory(op, "state", i, (*state1)[i], w) : nullptr,
                      state2 ? state_memory(op, "state", i, (*state2)[i], w) : nullptr, w.numel()});
    }
    if (list.empty()) return;
    p.tensors = list.data();
    p.count = static_cast<int64_t>(list.size());
    launch<Row>(op, dtype, device, p);
  };
  for (size_t i = 0; i < params.size(); ++i)
    if (opens_device(params, i))
      for (const DType dtype : {DType::float32, DType::float64}) launch_for(dtype, params[i].device());
  dense.clear();
  for (size_t i = 0; i < params.size(); ++i) {
    params[i].bump_version();
    if (state1) (*state1)[i].bump_version();
    if (state2) (*state2)[i].bump_version();
  }
}

}  // namespace

void sgd_step(const Tensors& params, const Tensors& grads, const Tensors& buffers, const SgdOptions& o) {
  check_params("sgd_step", params);
  check_list("sgd_step", "gradients", grads, params);
  const bool momentum = o.momentum != 0;
  if (momentum) check_list("sgd_step", "momentum buffers", buffers, params);
  OpScope scope("sgd_step", std::span(params), std::span(grads), std::span(buffers));
  scope.with("lr", o.lr);
  scope.with("momentum", o.momentum);
  scope.with("dampening", o.dampening);
  scope.with("weight_decay", o.weight_decay);
  scope.with("nesterov", o.nesterov);
  scope.with("maximize", o.maximize);
  scope.with("first_step", o.first_step);
  SgdParams p{};
  p.lr = o.lr, p.momentum = o.momentum, p.dampening = o.dampening, p.weight_decay = o.weight_decay;
  p.nesterov = o.nesterov, p.maximize = o.maximize, p.first_step = o.first_step;
  step<&OptimTable::sgd>("sgd_step", params, grads, momentum ? &buffers : nullptr, nullptr, p);
  scope.writes(std::span(params));
  if (momentum) scope.writes(std::span(buffers));
}

void adam_step(const Tensors& params, const Tensors& grads, const Tensors& exp_avg, const Tensors& exp_avg_sq,
               const AdamOptions& o) {
  check_params("adam_step", params);
  check_list("adam_step", "gradients", grads, params);
  check_list("adam_step", "first moments", exp_avg, params);
  check_list("adam_step", "second moments", exp_avg_sq, params);
  check_value(o.step >= 1, "adam_step: step counts from 1, got ", o.step);
  OpScope scope("adam_step", std::span(params), std::span(grads), std::span(exp_avg), std::span(exp_avg_sq));
  scope.with("lr", o.lr);
  scope.with("beta1", o.beta1);
  scope.with("beta2", o.beta2);
  scope.with("eps", o.eps);
  scope.with("weight_decay", o.weight_decay);
  scope.with("decoupled", o.decoupled);
  scope.with("maximize", o.maximize);
  scope.with("step", o.step);
  AdamParams p{};
  p.lr = o.lr, p.beta1 = o.beta1, p.beta2 = o.beta2, p.eps = o.eps, p.weight_decay = o.weight_decay;
  p.decoupled = o.decoupled, p.maximize = o.maximize, p.step = o.step;
  step<&OptimTable::adam>("adam_step", params, grads, &exp_avg, &exp_avg_sq, p);
  scope.writes(std::span(params));
  scope.writes(std::span(exp_avg));
  scope.writes(std::span(exp_avg_sq));
}

}  // namespace fastnn
