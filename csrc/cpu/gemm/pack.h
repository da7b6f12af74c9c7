// Packing for the matrix product: strided operands into panels that the micro-kernel reads front to back.
//
// A panel holds `width` vectors of length k side by side: element (lane, p) of the source, at x[lane *
// lane_stride + p * stride], goes to out[p * width + lane]. For A a lane is a row, for B a column; `lanes`
// may be those of several panels, which follow each other, k * width elements each. Rows of the last one are
// padded with zeros to whole vectors, but not beyond `width`.
#pragma once
#include "cpu/gemm/blocking.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kMostPanel = 1 << 30;  // lanes

// Panels that are written at a time where lanes lie side by side: 256 bytes of a row are read, and there are
// no more streams than L1 has ways, as they may be a power of two apart.
template <class T>
constexpr int64_t panels_together(int width) {
  return min_of(ceil_div(256, width * static_cast<int>(sizeof(T))), 4);
}

template <class T>
void pack_panels(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int64_t lanes,
                 int64_t k);

}  // namespace fastnn::FASTNN_ISA
