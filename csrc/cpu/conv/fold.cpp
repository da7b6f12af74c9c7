// The input gradient of images that their filters shrink a lot (8 x 8 outputs of 5 x 5 taps from 12 x 12
// pixels), stride 1.
//
// As a convolution of dy with its surroundings of zeros that would take H W instead of P Q pixels: 2.25 times
// the work. So here every tap's product is formed for the pixels that have one, t[(c, r, s)][p, q] = sum over
// k of w[k][c][r][s] dy[k][p, q], and then folded: dx[c][i, j] = sum over taps of t[(c, r, s)][i + pad - r
// dilation, j + pad - s dilation]. Products of a few channels and one panel of whole rows stay in the L1
// cache; the sum over taps is taken in a register per vector of dx.
#include "cpu/conv/fold.h"

#include "cpu/conv/algorithms.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/tile.h"
#include "cpu/simd/part.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kFoldRows = 48;  // rows of t at a time: 12 KB

template <class T>
struct FoldPlan {
  int64_t channels, filters, taps;  // per group; taps of one channel
  int64_t lines, panels;            // rows of dy in a panel; panels of an image
  int64_t block, blocks;            // channels folded at a time
  int rows;                         // of a tile
  int64_t packed_block, packed_w, per_worker;
};

template <class T>
FoldPlan<T> plan_fold(const ConvShape& s) {
  using B = Blocking<T>;
  FoldPlan<T> f{};
  f.channels = s.c / s.groups, f.filters = s.k / s.groups, f.taps = s.r * s.s;
  f.lines = min_of(B::NR / s.q, s.p);
  f.panels = ceil_div(s.p, f.lines);
  f.lines = ceil_div(s.p, f.panels);
  f.block = min_of(kFoldRows / f.taps + 1, f.channels);
  f.blocks = ceil_div(f.channels, f.block);
  f.rows = tile_rows<T>(f.block * f.taps, max_rows(static_cast<int>(ceil_div(f.lines * s.q, Vec<T>::N))));
  f.packed_block = round_up(round_up(f.block * f.taps, f.rows) * f.filters, 16);
  f.packed_w = s.groups * f.blocks * f.packed_block;
  f.per_worker = round_up(f.filters * B::NR, 16) + f.block * f.taps * B::NR;
  return f;
}

// The columns [j, j + lanes) of the dx rows that the lines [p0, p1) of dy reach, for one channel whose
// products are t: a row of `pitch` pixels per tap. Tap columns [k0, k1), at most kFoldColumns; two sums, to
// wait less for additions.
constexpr int64_t kFoldColumns = 16;

template <class T>
void fold_columns(const ConvShape& s, const T* t, int64_t pitch, int64_t p0, int64_t p1, int64_t j, int lanes,
                  int64_t k0, int64_t k1, bool first, T* dx) {
  using V = Vec<T>;
  Part<T> part[kFoldColumns];
  for (int64_t k = k0; k < k1; ++k) {
    const int64_t q = j + s.pad_w - k * s.dilation_w;  // of lane 0
    part[k - k0] = part_of<T>(-q, min_of(s.q - q, lanes));
  }
  const int64_t next = s.s * pitch - s.dilation_h * s.q;  // from one tap row to the next
  for (int64_t i = 0; i < s.h; ++i) {
    const TapRange rows = taps_inside(i + s.pad_h - p0, -s.dilation_h, s.r, p1 - p0);
    if (rows.begin == rows.end && !first) continue;
    T* to = dx + i * s.w + j;
    V even = first ? V(T(0)) : V::load_n(to, lanes), odd(T(0));
    const T* line = t + (i + s.pad_h - p0) * s.q + rows.begin * next + j + s.pad_w;
    for (int64_t r = rows.begin; r < rows.end; ++r, line += next) {
      int64_t k = k0;
      for (; k + 1 < k1; k += 2) {
        even = even + load_part(line + k * (pitch - s.dilation_w), part[k - k0]);
        odd = odd + load_part(line + (k + 1) * (pitch - s.dilation_w), part[k + 1 - k0]);
      }
      if (k < k1) even = even + load_part(line + k * (pitch - s.dilation_w), part[k - k0]);
    }
    (even + odd).store_n(to, lanes);
  }
}

}  // namespace

template <class T>
void fold_channel(const ConvShape& s, const T* t, int64_t pitch, int64_t p0, int64_t p1, bool first, T* dx) {
  constexpr int N = Vec<T>::N;
  for (int64_t k = 0; k < s.s; k += kFoldColumns)
    for (int64_t j = 0; j < s.w; j += N)
      fold_columns(s, t, pitch, p0, p1, j, static_cast<int>(min_of(N, s.w - j)), k,
                   min_of(k + kFoldColumns, s.s), first && k == 0, dx);
}

template void fold_channel(const ConvShape& s, const float* t, int64_t pitch, int64_t p0, int64_t p1,
                           bool first, float* dx);
template void fold_channel(const ConvShape& s, const double* t, int64_t pitch, int64_t p0, int64_t p1,
                           bool first, double* dx);

namespace {

template <class T>
void fold_image(const ConvShape& s, const FoldPlan<T>& f, int64_t image, int64_t group, const T* packed_w,
                const T* dy, T* dx, T* scratch) {
  constexpr int NR = Blocking<T>::NR;
  T* const b = scratch;
  T* const t = scratch + round_up(f.filters * NR, 16);
  dy += (image * s.k + group * f.filters) * s.p * s.q;
  dx += (image * s.c + group * f.channels) * s.h * s.w;
  for (int64_t p0 = 0; p0 < s.p; p0 += f.lines) {
    const int64_t p1 = min_of(p0 + f.lines, s.p);
    const int count = static_cast<int>((p1 - p0) * s.q);
    pack_panels(b, NR, dy + p0 * s.q, 1, s.p * s.q, count, f.filters);
    for (int64_t block = 0; block < f.blocks; ++block) {
      const int64_t c0 = block * f.block, c1 = min_of(c0 + f.block, f.channels), rows = (c1 - c0) * f.taps;
      const T* a = packed_w + (group * f.blocks + block) * f.packed_block;
      for (int64_t row = 0; row < rows; row += f.rows)
        micro_kernel(Tile<T>{.k = f.filters,
                             .a = a + row * f.filters,
                             .rs_a = 1,
                             .cs_a = f.rows,
                             .b = b,
                             .ldb = NR,
                             .packed_b = true,
                             .c = t + row * NR,
                             .ldc = NR},
                     static_cast<int>(min_of(f.rows, rows - row)), count);
      for (int64_t c = c0; c < c1; ++c)
        fold_channel(s, t + (c - c0) * f.taps * NR, NR, p0, p1, p0 == 0, dx + c * s.h * s.w);
    }
  }
}

}  // namespace

// Folding costs some 16 multiply-adds per product element, and the rest of its last vector; the convolution
// multiplies with zeros to the left and right of dy.
template <class T>
bool fold_pays(const ConvShape& s) {
  if (s.stride_h != 1 || s.stride_w != 1 || s.q > Blocking<T>::NR || s.n * s.k * s.p * s.q == 0) return false;
  const int64_t line_pixels = min_of(Blocking<T>::NR / s.q, s.p) * s.q;
  const double filters = static_cast<double>(s.k / s.groups), taps = static_cast<double>(s.r * s.s);
  const double used =
      static_cast<double>(line_pixels) / static_cast<double>(round_up(line_pixels, Vec<T>::N));
  const double fold = static_cast<double>(s.p * s.q) * taps / used * (1 + 4 / filters);
  const Phase rows = phase_of(0, s.h, 1, s.pad_h, s.dilation_h, s.r);
  return fold < static_cast<double>(s.h * s.w) * taps * share_inside(rows, s.p);
}

template <class T>
Status fold_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const FoldPlan<T> f = plan_fold<T>(s);
  T* const packed_w = workspace<T>(ctx, f.packed_w + ctx.threads * f.per_worker);
  if (!packed_w) return Status::need_workspace;
  const T* w = static_cast<const T*>(params.w);
  const int64_t depth_step = f.channels * f.taps;
  const double packing = static_cast<double>(f.packed_w);
  const Status packed = parallel_for(ctx, s.groups * f.blocks, packing, [&](int64_t task, int) {
    const int64_t group = task / f.blocks, c0 = (task - group * f.blocks) * f.block;
    const int64_t rows = min_of(f.block, f.channels - c0) * f.taps;
    pack_panels(packed_w + task * f.packed_block, f.rows, w + group * f.filters * depth_step + c0 * f.taps, 1,
                depth_step, rows, f.filters);
  });
  if (packed != Status::ok) return packed;
  const double nanoseconds =
      static_cast<double>(s.n * s.k * s.p * s.q) * static_cast<double>(depth_step) / (2.0 * kVectorBytes);
  return parallel_for(ctx, s.n * s.groups, nanoseconds, [&](int64_t task, int worker) {
    fold_image(s, f, task / s.groups, task % s.groups, packed_w, static_cast<const T*>(params.dy),
               static_cast<T*>(params.out), packed_w + f.packed_w + worker * f.per_worker);
  });
}

template bool fold_pays<float>(const ConvShape& s);
template bool fold_pays<double>(const ConvShape& s);
template Status fold_grad_input<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status fold_grad_input<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
