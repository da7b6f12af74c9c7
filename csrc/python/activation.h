// The name of the activation that a layer applies to its result.
#pragma once
#include "ops/gemm/activation.h"
#include "python/convert.h"

namespace fastnn {

template <>
inline constexpr std::array<Word<Activation>, 2> words<Activation>{
    {{name_of(Activation::none), Activation::none}, {name_of(Activation::relu), Activation::relu}}};

}  // namespace fastnn
