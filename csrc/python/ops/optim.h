// Steps of optimisers.
#pragma once
#include "ops/optim/optim.h"
#include "python/convert.h"

namespace fastnn {

inline void define_optim(Definitions& d) {
  d.internal(
      "sgd_step(params, grads, buffers, lr, momentum, dampening, weight_decay, nesterov, maximize, "
      "first_step)",
      [](const Tensors& params, const Tensors& grads, const Tensors& buffers, double lr, double momentum,
         double dampening, double weight_decay, bool nesterov, bool maximize, bool first_step) {
        sgd_step(params, grads, buffers,
                 {.lr = lr,
                  .momentum = momentum,
                  .dampening = dampening,
                  .weight_decay = weight_decay,
                  .nesterov = nesterov,
                  .maximize = maximize,
                  .first_step = first_step});
      },
      "One step of stochastic gradient descent, in place; buffers: of momentum, or empty.");
  d.internal(
      "adam_step(params, grads, exp_avg, exp_avg_sq, lr, beta1, beta2, eps, weight_decay, decoupled, "
      "maximize, step)",
      [](const Tensors& params, const Tensors& grads, const Tensors& exp_avg, const Tensors& exp_avg_sq,
         double lr, double beta1, double beta2, double eps, double weight_decay, bool decoupled,
         bool maximize, int64_t step) {
        adam_step(params, grads, exp_avg, exp_avg_sq,
                  {.lr = lr,
                   .beta1 = beta1,
                   .beta2 = beta2,
                   .eps = eps,
                   .weight_decay = weight_decay,
                   .decoupled = decoupled,
                   .maximize = maximize,
                   .step = step});
      },
      "One step of Adam, in place; AdamW where decoupled. step counts from 1.");
}

}  // namespace fastnn
