// Products of every tap with the pixels of dy, folded onto dx: dx[c][i, j] = sum over taps of t[(c, r, s)][i
// + pad - r dilation, j + pad - s dilation].
#pragma once
#include "cpu/conv/shape.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// The rows of dx that the lines [p0, p1) of dy reach, for one channel whose products are t: a row of `pitch`
// pixels per tap. Set the `first` time, added to later.
template <class T>
void fold_channel(const ConvShape& s, const T* t, int64_t pitch, int64_t p0, int64_t p1, bool first, T* dx);

}  // namespace fastnn::FASTNN_ISA
