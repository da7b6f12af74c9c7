// What the activations that a layer applies to its result are called.
#pragma once
#include "backend/gemm.h"

namespace fastnn {

constexpr const char* name_of(Activation activation) {
  constexpr const char* names[] = {"none", "relu"};
  return names[static_cast<int>(activation)];
}

}  // namespace fastnn
