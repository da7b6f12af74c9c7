// The name of the activation that a layer applies to its result.
#pragma once
#include "backend/gemm.h"
#include "python/convert.h"

namespace fastnn {

template <>
inline constexpr std::array<Word<Activation>, 2> words<Activation>{
    {{"none", Activation::none}, {"relu", Activation::relu}}};

}  // namespace fastnn
