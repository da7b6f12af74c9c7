// The largest element and the sum of exponentials of a row, from registers or in one pass over memory.
#pragma once
#include "cuda/common/math.cuh"
#include "cuda/common/row_team.cuh"

namespace fastnn::cuda {

template <class T>
__device__ T minus_infinity() {
  return static_cast<T>(-__builtin_inff());
}

// The sum of e^x as e^top * sum, of no elements {-inf, 0}. A NaN anywhere makes the sum NaN, and so does
// +inf.
template <class T>
struct ExpSum {
  T top = minus_infinity<T>(), sum = T(0);
};
// x - top for elements that may all be -inf: then their exponentials must not become NaN.
template <class T>
__device__ T shift_of(T top) {
  return top == minus_infinity<T>() ? T(0) : top;
}

// The sum over a team's parts, which are brought to one top first.
template <class T>
__device__ ExpSum<T> merge(const Team<T>& team, const ExpSum<T>& part) {
  const T top = team.reduce(part.top, Larger(), minus_infinity<T>());
  const T sum = team.reduce(part.sum * math_exp(part.top - shift_of(top)), Plus(), T(0));
  return {top, sum};
}

// Adds N elements, absent ones -inf, to a running sum.
template <class T, int N>
__device__ void add_exponentials(ExpSum<T>& part, const T (&v)[N]) {
  T top = part.top;
#pragma unroll
  for (int j = 0; j < N; ++j) top = Larger()(v[j], top);
  const T shift = shift_of(top);
  T sum = T(0);
#pragma unroll
  for (int j = 0; j < N; ++j) sum += math_exp(v[j] - shift);
  part.sum = part.sum * math_exp(part.top - shift) + sum;
  part.top = top;
}

}  // namespace fastnn::cuda
