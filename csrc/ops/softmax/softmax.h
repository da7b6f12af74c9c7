// Softmax and the losses on it; mean squared error.
#pragma once
#include "core/tensor.h"

namespace fastnn {

enum class Reduction { none, mean, sum };
constexpr const char* name_of(Reduction reduction) {
  constexpr const char* names[] = {"none", "mean", "sum"};
  return names[static_cast<int>(reduction)];
}

Tensor softmax(const Tensor& x, int64_t dim);
Tensor log_softmax(const Tensor& x, int64_t dim);

// -log softmax(x)[target] over dimension 1 of x (N, C, ...), or of x (C): target holds classes (integers, x's
// shape without that dimension) or a distribution over them (floating, x's shape). weight (C), or undefined,
// scales each class.
struct CrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  int64_t ignore_index = -100;
  double label_smoothing = 0;
};
Tensor cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight,
                     const CrossEntropyOptions& options);
// The same of log-probabilities x.
Tensor nll_loss(const Tensor& x, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                Reduction reduction);

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction);  // of equal shapes

}  // namespace fastnn
