// Panels of pixels, read straight from images: what convolution multiplies its filters with.
//
// The grid of a ConvProduct is walked in one fixed order and cut into panels of at most NR pixels. A panel is
// a few runs, each a stretch of neighbouring pixels of one row. Row k = (r, c, s) of the panel holds, for
// each of its pixels, the element that tap (r, s) meets in channel c. r is outermost, so that taps whose
// whole row lies in the padding are left out of the product.
#pragma once
#include "cpu/conv/product.h"
#include "cpu/conv/strided_part.h"
#include "cpu/gemm/blocking.h"

namespace fastnn::FASTNN_ISA {

struct Run {
  int64_t n, i, j;  // image, row and first column
  int len;
  int at;  // position in the panel
};

// The runs of pixels [first, first + count), in the grid's order: groups of `interleave` images, rows,
// images, columns.
template <class T>
int find_runs(const PixelGrid<T>& g, int64_t first, int count, Run* run) {
  const int64_t group_pixels = g.interleave * g.rows * g.cols;
  int runs = 0;
  for (int at = 0; at < count;) {
    const int64_t l = first + at, group = l / group_pixels;
    const int64_t left = g.images - group * g.interleave, members = left < g.interleave ? left : g.interleave;
    const int64_t in_group = l - group * group_pixels, line = in_group / g.cols, j = in_group - line * g.cols;
    const int64_t i = line / members, n = group * g.interleave + line - i * members;
    const int64_t len = g.cols - j < count - at ? g.cols - j : count - at;
    run[runs++] = {n, i, j, static_cast<int>(len), at};
    at += static_cast<int>(len);
  }
  return runs;
}

// Up to one vector of pixels of a run, through rows of units [u0, u1) of the panel. Channels are outside and
// taps inside, as neighbouring taps read the same cache line. A store of a whole vector may spill into pixels
// that are written later; `exact` forbids it at the end of the panel.
template <class T, int kStep, bool exact>
void pack_vector(const PixelGrid<T>& g, const Run& run, int done, int lanes, int64_t u0, int64_t u1, T* out) {
  constexpr int NR = Blocking<T>::NR;
  constexpr int kTaps = 16;  // at a time
  constexpr int kAhead = 4;  // channels: planes are too far apart for the processor to foresee
  const int64_t start = (run.j + done) * g.stride_w + g.col0, extent = (lanes - 1) * g.stride_w + 1;
  for (int64_t s0 = 0; s0 < g.taps_w; s0 += kTaps) {
    const int64_t taps = min_of(kTaps, g.taps_w - s0);
    StridedPart<T, kStep> part[kTaps];
    for (int64_t s = 0; s < taps; ++s) {
      const int64_t col = start + (s0 + s) * g.col_step;
      part[s] = {-col, min_of(g.width - col, extent), g.stride_w};
    }
    T* to = out + s0 * NR + run.at + done;
    for (int64_t u = u0; u < u1;) {
      const int64_t r = u / g.channels, c0 = u - r * g.channels, c1 = min_of(c0 + u1 - u, g.channels);
      const int64_t line = run.i * g.stride_h + g.row0 + r * g.row_step;
      const bool outside = line < 0 || line >= g.height;
      const T* source =
          g.source + run.n * g.image_step + (c0 * g.height + line) * g.width + start + s0 * g.col_step;
      for (int64_t c = c0; c < c1; ++c, source += g.height * g.width, to += g.taps_w * NR) {
        __builtin_prefetch(source + kAhead * g.height * g.width + Vec<T>::N);
        for (int64_t s = 0; s < taps; ++s) {
          const Vec<T> x = outside ? Vec<T>(T(0)) : part[s].load(source + s * g.col_step);
          exact ? x.store_n(to + s * NR, lanes) : x.store(to + s * NR);
        }
      }
      u += c1 - c0;
    }
  }
}

template <class T, int kStep>
void pack_run(const PixelGrid<T>& g, const Run& run, int64_t u0, int64_t u1, T* out) {
  constexpr int N = Vec<T>::N;
  for (int done = 0; done < run.len; done += N) {
    const int lanes = run.len - done < N ? run.len - done : N;
    if (run.at + done + N > Blocking<T>::NR)
      pack_vector<T, kStep, true>(g, run, done, lanes, u0, u1, out);
    else
      pack_vector<T, kStep, false>(g, run, done, lanes, u0, u1, out);
  }
}

// Rows of units [u0, u1) of a panel, unit u = r * channels + c being the taps_w rows of one tap row and
// channel. Pixels from `count` on become zero.
template <class T>
void pack_pixels(const PixelGrid<T>& g, const Run* run, int runs, int count, int64_t u0, int64_t u1, T* out) {
  constexpr int NR = Blocking<T>::NR;
  for (int k = 0; k < runs; ++k) {
    if (g.stride_w == 1)
      pack_run<T, 1>(g, run[k], u0, u1, out);
    else if (g.stride_w == 2)
      pack_run<T, 2>(g, run[k], u0, u1, out);
    else
      pack_run<T, 0>(g, run[k], u0, u1, out);
  }
  for (int64_t k = 0; k < (u1 - u0) * g.taps_w && count < NR; ++k, out += NR)
    for (int j = count; j < NR; ++j) out[j] = T(0);
}

}  // namespace fastnn::FASTNN_ISA
