// What every algorithm of convolution asks of a shape.
#pragma once
#include "backend/conv.h"
#include "backend/conv_phases.h"
#include "backend/integers.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

constexpr double kConvTaskFmas = 1 << 20;  // a task at least: about 10 us
constexpr int64_t kConvTasks = 16;         // enough for a handful of threads to share evenly

// The same convolution with its dimensions put so that runs of pixels are long. A 1x1 convolution that meets
// every pixel once does not care where rows end; a filter as large as the image meets one pixel of many
// channels.
inline ConvShape flatten(ConvShape s) {
  const bool dense = s.pad_h == 0 && s.pad_w == 0 && s.dilation_h == 1 && s.dilation_w == 1;
  if (dense && s.r == s.h && s.s == s.w) {
    s.c *= s.h * s.w;
    s.h = s.w = s.r = s.s = 1;
  } else if (dense && s.r == 1 && s.s == 1 && s.p == s.h && s.q == s.w) {
    s.w = s.q = s.h * s.w;
    s.h = s.p = 1;
  }
  return s;
}

// The convolution of dy that gives dx where filters step by one: these are turned round.
inline ConvShape grad_input_shape(const ConvShape& s) {
  ConvShape t = s;
  t.c = s.k, t.h = s.p, t.w = s.q, t.k = s.c, t.p = s.h, t.q = s.w;
  t.pad_h = (s.r - 1) * s.dilation_h - s.pad_h, t.pad_w = (s.s - 1) * s.dilation_w - s.pad_w;
  return t;
}

struct TapRange {
  int64_t begin, end;
};

// Taps t of [0, taps) for which start + t * step lies in [0, size).
inline TapRange taps_inside(int64_t start, int64_t step, int64_t taps, int64_t size) {
  TapRange in{0, taps};
  while (in.begin < in.end && (start + in.begin * step < 0 || start + in.begin * step >= size)) ++in.begin;
  while (in.end > in.begin && (start + (in.end - 1) * step < 0 || start + (in.end - 1) * step >= size))
    --in.end;
  return in;
}

// Taps that meet the image, over all pixels of a phase, as a share of those that do not fall into the
// padding.
inline double share_inside(const Phase& f, int64_t size) {
  int64_t inside = 0;
  for (int64_t i = 0; i < f.pixels; ++i) {
    const TapRange in = taps_inside(f.start + i, f.move, f.taps, size);
    inside += in.end - in.begin;
  }
  return f.pixels * f.taps > 0 ? static_cast<double>(inside) / static_cast<double>(f.pixels * f.taps) : 1;
}

}  // namespace fastnn::FASTNN_ISA
