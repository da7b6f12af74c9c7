// Loads that convolution needs: the part of a row that lies in the image, or every second element of it.
#pragma once
#include "cpu/simd/interleave.h"
#include "cpu/simd/part.h"

namespace fastnn::FASTNN_ISA {

// N elements, kStep apart: those at offsets [low, high) from the first, zero in place of the others. A kStep
// of 0 stands for any.
template <class T, int kStep>
struct StridedPart {
  Part<T> first, second;
  int64_t low, high, step;

  StridedPart() = default;
  FASTNN_INLINE StridedPart(int64_t low, int64_t high, int64_t step)
      : first(part_of<T>(low, high)),
        second(part_of<T>(low - Vec<T>::N, high - Vec<T>::N)),
        low(low),
        high(high),
        step(step) {}

  FASTNN_INLINE Vec<T> load(const T* p) const {
    if constexpr (kStep == 1) {
      return load_part(p, first);
    } else if constexpr (kStep == 2) {
      return deinterleave(load_part(p, first), load_part(p + Vec<T>::N, second)).a;
    } else {
      typename Vec<T>::Native lane = {};
      for (int64_t l = 0, at = 0; l < Vec<T>::N && at < high; ++l, at += step)
        if (at >= low) lane[l] = p[at];
      return Vec<T>(lane);
    }
  }
};

}  // namespace fastnn::FASTNN_ISA
