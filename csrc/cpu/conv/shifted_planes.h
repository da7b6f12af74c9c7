// Images copied once per column of taps, for convolutions of few channels: plane (c, s) holds, for every
// pixel (p, q) of the output, the element of channel c that tap column s meets, and its rows are as long as
// the output's:
//
//     plane[i * Q + q] = x[n][c][(p0 + i) * stride_h - pad_h][q * stride_w - pad_w + s * dilation_w]
//
// or 0 outside.
//
// Then tap (c, r, s) meets the pixels [p0, p1) x [0, Q) in one contiguous stretch of its plane, r rows
// further on: vectors run over the ends of rows, no lane is idle, and an element is copied s times instead of
// r * s times. With stride_h > 1 each phase of rows, (r * dilation_h) mod stride_h, has a plane of its own.
#pragma once
#include "backend/context.h"
#include "cpu/conv/shape.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// Several images may share planes: their rows take turns, row i of all images before row i + 1 of any.
struct ShiftedPlanes {
  int64_t rows;            // of the output
  int64_t pitch;           // from one row of an image to its next
  int64_t plane, channel;  // elements of a plane and of all planes of a channel
};

inline ShiftedPlanes shifted_planes(const ConvShape& s, int64_t rows, int64_t images = 1) {
  const int64_t pitch = images * s.q, plane = (rows + (s.r - 1) * s.dilation_h / s.stride_h) * pitch;
  return {rows, pitch, plane, s.s * s.stride_h * plane};
}

// Offset of tap (r, t) of a channel.
inline int64_t tap_offset(const ConvShape& s, const ShiftedPlanes& planes, int64_t r, int64_t t) {
  const int64_t line = r * s.dilation_h;
  return (t * s.stride_h + line % s.stride_h) * planes.plane + line / s.stride_h * planes.pitch;
}

// The planes of `channels` channels, the first of which begins at x, for output rows from p0 on. Rows beyond
// the image's last are zero.
template <class T>
void fill_planes(const ConvShape& s, const ShiftedPlanes& planes, const T* x, int64_t channels, int64_t p0,
                 T* out);

}  // namespace fastnn::FASTNN_ISA
