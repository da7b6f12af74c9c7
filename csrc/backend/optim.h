// Optimisers: one call over all parameters.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

struct OptimTensor {
  void* w;
  const void* g;
  void* state1;  // SGD: momentum; Adam: first moment
  void* state2;  // Adam: second moment
  int64_t numel;
};
struct OptimTensors {
  const OptimTensor* tensors;
  int64_t count;

  double elements() const {
    double n = 0;
    for (int64_t i = 0; i < count; ++i) n += static_cast<double>(tensors[i].numel);
    return n;
  }
  template <class F>
  void touches(int64_t size, F&& f) const {
    for (int64_t i = 0; i < count; ++i) {
      const OptimTensor& t = tensors[i];
      f(update_of(t.w, t.numel * size));
      f(read_of(t.g, t.numel * size));
      if (t.state1) f(update_of(t.state1, t.numel * size));
      if (t.state2) f(update_of(t.state2, t.numel * size));
    }
  }
};
struct SgdParams : OptimTensors {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first_step;

  double flops() const { return (momentum == 0 ? 2 : 4) * elements(); }
  double nanoseconds() const { return elements(); }
};
struct AdamParams : OptimTensors {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled, maximize;  // decoupled: AdamW
  int64_t step;              // 1 at the first

  double flops() const { return 14 * elements(); }
  double nanoseconds() const { return 2 * elements(); }
};

#define FASTNN_OPTIM(K)                 \
  K(sgd, SgdParams, FLOATS, CPU | CUDA) \
  K(adam, AdamParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(OptimTable, optim, FASTNN_OPTIM)

}  // namespace fastnn
