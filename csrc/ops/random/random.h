// Random numbers from the process's generator: a seed, and a count of the draws made, which together key
// Philox.
#pragma once
#include "core/tensor.h"

namespace fastnn {

struct GeneratorState {
  uint64_t seed, draws;
};
void manual_seed(uint64_t seed);  // and start counting anew
GeneratorState generator_state();
void set_generator_state(const GeneratorState& state);

Tensor dropout(const Tensor& x, double p, bool training);

// Overwrite a floating tensor. Of a `fresh` one nobody minds if the host's interrupt leaves it half written.
Tensor uniform_(const Tensor& x, double low, double high, bool fresh = false);
Tensor normal_(const Tensor& x, double mean, double deviation, bool fresh = false);
Tensor randint(int64_t low, int64_t high, const Dims& shape, DType dtype, Device device);  // in [low, high)

}  // namespace fastnn
