// The product that a convolution is: out[n][m] = act(W[m][(r, c, s)] x pixels[(r, c, s)][n] + bias[m]), for
// every filter m and every pixel n of a grid.
//
// The grid of outputs, `images` x `rows` x `cols`, meets at tap (r, s) and channel c, for its pixel (n, i,
// j),
//
//     source[n][c][i * stride_h + row0 + r * row_step][j * stride_w + col0 + s * col_step]
//
// or 0 outside the image. Taps being affine, the same grid describes a convolution (steps are dilations) and
// each phase of its input gradient (steps are negative).
#pragma once
#include "backend/context.h"
#include "backend/conv.h"
#include "cpu/conv/shape.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct PixelGrid {
  int64_t images, rows, cols;
  int64_t interleave;  // images that take turns row by row: panels then hold rows with the same taps in the
                       // padding
  const T* source;
  int64_t channels, height, width, image_step;  // planes are dense
  int64_t taps_h, taps_w;
  int64_t stride_h, stride_w, row0, row_step, col0, col_step;

  int64_t pixels() const { return images * rows * cols; }
  int64_t depth() const { return taps_h * channels * taps_w; }
};

template <class T>
struct ConvProduct {
  PixelGrid<T> grid;             // of the first group
  int64_t groups, source_group;  // groups and the distance between their channels in source
  int64_t filters;               // per group
  // Element (group, m, r, c, s) of the weights; the taps of a phase may be some of the filter's, hence steps
  // of their own.
  const T* w;
  int64_t w_group, w_filter, w_row, w_channel, w_col;
  const T* bias;  // groups * filters, or null
  bool relu;
  T* out;  // element (n, group, m, i, j)
  int64_t out_image, out_group, out_filter, out_row, out_col;
};

template <class T>
ConvProduct<T> forward_product(const ConvParams& params, const ConvShape& s);

// One channel in, one filter: there is nothing to share between filters, and depthwise.cpp packs nothing.
template <class T>
bool is_depthwise(const ConvProduct<T>& p);
template <class T>
Status run_depthwise(Context& ctx, const ConvProduct<T>& p);

}  // namespace fastnn::FASTNN_ISA
