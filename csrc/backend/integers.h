// Integers that sizes are cut and rounded by. Operands of two types meet in their common one.
#pragma once
#include <type_traits>

#include "backend/host_device.h"

namespace fastnn {

// a / b rounded up, for a >= 0 and b > 0.
template <class A, class B>
FASTNN_HOST_DEVICE constexpr std::common_type_t<A, B> ceil_div(A a, B b) {
  return (a + b - 1) / b;
}
// a rounded up to a multiple of b.
template <class A, class B>
FASTNN_HOST_DEVICE constexpr std::common_type_t<A, B> round_up(A a, B b) {
  return ceil_div(a, b) * b;
}
// Not min and max, which kernels define for vectors.
template <class A, class B>
FASTNN_HOST_DEVICE constexpr std::common_type_t<A, B> min_of(A a, B b) {
  return a < b ? a : b;
}
template <class A, class B>
FASTNN_HOST_DEVICE constexpr std::common_type_t<A, B> max_of(A a, B b) {
  return a > b ? a : b;
}

}  // namespace fastnn
