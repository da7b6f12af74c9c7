// Softmax and losses.
#pragma once
#include "ops/softmax/softmax.h"
#include "python/convert.h"

namespace fastnn {

template <>
inline constexpr std::array<Word<Reduction>, 3> words<Reduction>{{{name_of(Reduction::none), Reduction::none},
                                                                  {name_of(Reduction::mean), Reduction::mean},
                                                                  {name_of(Reduction::sum), Reduction::sum}}};

inline void define_softmax(Definitions& d) {
  d.op("softmax(x, dim)", softmax, "exp(x) / sum(exp(x)) along dim.");
  d.op("log_softmax(x, dim)", log_softmax, "log(softmax(x)) along dim.");
  d.internal(
      "cross_entropy(x, target, ignore_index=-100, reduction='mean', label_smoothing=0.0, weight=None)",
      [](const Tensor& x, const Tensor& target, int64_t ignore_index, Reduction reduction,
         double label_smoothing, const Tensor& weight) {
        return cross_entropy(
            x, target, weight,
            {.reduction = reduction, .ignore_index = ignore_index, .label_smoothing = label_smoothing});
      },
      "-log softmax(x)[target] of logits (N, C, ...) and classes (N, ...), or distributions (N, C, ...).");
  d.internal(
      "nll_loss(x, target, ignore_index=-100, reduction='mean', weight=None)",
      [](const Tensor& x, const Tensor& target, int64_t ignore_index, Reduction reduction,
         const Tensor& weight) { return nll_loss(x, target, weight, ignore_index, reduction); },
      "-x[target] of log-probabilities (N, C, ...) and classes (N, ...).");
  d.internal("mse_loss(x, target, reduction='mean')", mse_loss, "(x - target)^2.");
}

}  // namespace fastnn
