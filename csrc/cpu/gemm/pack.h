// Packing for the matrix product: strided operands into panels that the micro-kernel reads front to back.
//
// A panel holds `lanes` vectors of length k side by side: element (lane, p) of the source, at x[lane *
// lane_stride + p * stride], goes to out[p * width + lane]. For A a lane is a row, for B a column. Where
// lanes lie side by side in memory rows are copied; where p does (A row-major, B transposed) square blocks
// are transposed in registers.
#pragma once
#include "cpu/gemm/blocking.h"

namespace fastnn::FASTNN_ISA {

// One panel: lanes <= width. Rows are padded with zeros to whole vectors, but not beyond `width`.
template <class T>
void pack_panel(T* out, int width, const T* x, int64_t lane_stride, int64_t stride, int lanes, int64_t k);

// Rows [0, m) and all k columns of A (strides rs, cs) for tiles of `rows` rows: panel after panel, k * rows
// elements each.
template <class T>
void pack_a(T* out, const T* a, int64_t rs, int64_t cs, int64_t m, int64_t k, int rows) {
  for (int64_t i = 0; i < m; i += rows, out += k * rows)
    pack_panel(out, rows, a + i * rs, rs, cs, static_cast<int>(min_of(rows, m - i)), k);
}

// k rows of columns [0, n) of B (strides rs, cs), n <= width, as one panel: row p at out + p * width.
template <class T>
void pack_b_panel(T* out, const T* b, int64_t rs, int64_t cs, int64_t k, int n, int width) {
  pack_panel(out, width, b, cs, rs, n, k);
}

}  // namespace fastnn::FASTNN_ISA
