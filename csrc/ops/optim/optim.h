// Steps of optimisers over lists of parameters, in place: one kernel for all of them.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace fastnn {

using Tensors = std::vector<Tensor>;

struct SgdOptions {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
  bool first_step;  // the momentum buffers hold nothing yet
};
void sgd_step(const Tensors& params, const Tensors& grads, const Tensors& buffers,
              const SgdOptions& options);  // buffers: with momentum

struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;  // AdamW: weights shrink by themselves
  bool maximize;
  int64_t step;  // 1 at the first
};
void adam_step(const Tensors& params, const Tensors& grads, const Tensors& exp_avg, const Tensors& exp_avg_sq,
               const AdamOptions& options);

}  // namespace fastnn
