// Hooks on gradients, and gradients kept for tensors that are not leaves.
#include <algorithm>

#include "core/autograd.h"
#include "core/grad_lock.h"

namespace fastnn {

uint64_t Watches::add(uint32_t output_nr, Hook hook) {
  entries_.push_back({++next_id_, output_nr, std::move(hook), nullptr});
  return next_id_;
}

void Watches::remove(uint64_t id) {
  std::erase_if(entries_, [id](const Entry& e) { return e.id == id; });
}

void Watches::keep(uint32_t output_nr, TensorImpl* tensor) {
  entries_.push_back({++next_id_, output_nr, {}, tensor});
}

void Watches::forget(const TensorImpl* tensor) {
  std::erase_if(entries_, [tensor](const Entry& e) { return e.tensor == tensor; });
}

Tensor Watches::run(uint32_t output_nr, Tensor grad) const {
  const std::vector<Entry> entries = entries_;  // a hook may add or remove hooks
  for (const Entry& e : entries) {
    if (e.output_nr != output_nr || !e.hook) continue;
    Tensor instead = e.hook(grad);
    if (!instead.defined()) continue;
    check_value(instead.shape() == grad.shape() && instead.dtype() == grad.dtype(),
                "register_hook: the hook returned a ", instead.dtype(), " tensor of shape ", instead.shape(),
                " for a ", grad.dtype(), " gradient of shape ", grad.shape());
    check(instead.device() == grad.device(), ErrorKind::runtime,
          "register_hook: the hook returned a tensor on ", instead.device(), " for a gradient on ",
          grad.device(), "; move it with .to()");
    grad = std::move(instead);
  }
  // Gradients are kept as the hooks left them. The list is read afresh each time: a hook may have dropped a
  // tensor, and so may another thread while a sum is formed.
  uint64_t last = 0;
  for (;;) {
    const auto next = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
      return e.id > last && e.output_nr == output_nr && e.tensor;
    });
    if (next == entries_.end()) break;
    last = next->id;
    const Ref<TensorImpl> tensor = Ref<TensorImpl>::share(next->tensor);
    const GradLock lock(tensor.get());
    Tensor sum(tensor->grad);
    tensor->grad = sum.defined() ? accumulate(std::move(sum), grad).ref() : clone(grad).ref();
  }
  return grad;
}

Watches& watches_of(const Tensor& x) {
  check(x.requires_grad(), ErrorKind::runtime, "register_hook: the tensor does not require grad");
  Ref<Watches>& place = x.is_leaf() ? x.impl()->watches : x.impl()->grad_fn->watches;
  if (!place) place = Ref<Watches>(new Watches);
  return *place;
}

void retain_grad(const Tensor& x) {
  check(x.requires_grad(), ErrorKind::runtime, "retain_grad: the tensor does not require grad");
  if (x.is_leaf() || x.impl()->retains_grad) return;
  watches_of(x).keep(x.impl()->output_nr, x.impl());
  x.impl()->retains_grad = true;
}

}  // namespace fastnn
