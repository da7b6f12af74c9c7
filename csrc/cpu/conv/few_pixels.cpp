// The gradients of a convolution of few pixels, one panel or less. Reading or writing the filters is then the
// work (9 MB for 512 x 512 x 3 x 3), so they are used from where they are and never packed.
//
//   dx   t[(c, r, s)][pixel] = sum over k of w[k][(c, r, s)] dy[k][pixel], folded onto dx (fold.h). Vectors
//        run along (c, r, s), a cache line of one filter after the other, dy is read by broadcast, and square
//        blocks of t are transposed in registers.
//   dw   dw[k][(c, r, s)] = sum over pixels of dy[k][pixel] patch[pixel][(c, r, s)]: rows of dw are written
//        front to back.
//
// Pixels of all images follow each other: (n, p, q).
#include "cpu/conv/algorithms.h"
#include "cpu/conv/fold.h"
#include "cpu/conv/shifted_planes.h"
#include "cpu/gemm/tile.h"
#include "cpu/simd/part.h"
#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {
namespace {

// dy as [k][pixel], rows of whole vectors.
template <class T>
void pack_dy(const ConvShape& s, const T* dy, int64_t pixels, T* out) {
  const int64_t pq = s.p * s.q;
  for (int64_t k = 0; k < s.k; ++k, out += pixels) {
    for (int64_t n = 0; n < s.n; ++n) {
      const T* from = dy + (n * s.k + k) * pq;
      for (int64_t l = 0; l < pq; ++l) out[n * pq + l] = from[l];
    }
    for (int64_t l = s.n * pq; l < pixels; ++l) out[l] = T(0);
  }
}

// N rows of t for N pixels: t[j + i][0 .. N) for i < lanes.
template <class T>
void few_products(const T* w, int64_t w_filter, int64_t filters, int lanes, const T* dy, int64_t pixels,
                  T* t) {
  using V = Vec<T>;
  constexpr int kAhead = 16;  // filters: they are too far apart for the processor to foresee
  V acc[V::N];
#pragma GCC unroll 16
  for (int i = 0; i < V::N; ++i) acc[i] = V(T(0));
  for (int64_t k = 0; k < filters; ++k, w += w_filter, dy += pixels) {
    __builtin_prefetch(w + kAhead * w_filter, 0, 2);
    V row = load_some(w, lanes);
    keep(row);
#pragma GCC unroll 16
    for (int i = 0; i < V::N; ++i) acc[i] = fma(V(dy[i]), row, acc[i]);
  }
  transpose(acc);
#pragma GCC unroll 16
  for (int i = 0; i < V::N; ++i)
    if (i < lanes) acc[i].store(t + i * pixels);
}

// Patches of one image and some channels, from their planes: patch[pixel][(c, r, s)].
template <class T>
void pack_patches(const ConvShape& s, const ShiftedPlanes& planes, const T* from, int64_t channels,
                  int64_t ld, T* out) {
  using V = Vec<T>;
  const int64_t taps = s.r * s.s, rows = channels * taps, pq = s.p * s.q;
  for (int64_t i0 = 0; i0 < rows; i0 += V::N) {
    const int lanes = static_cast<int>(min_of(V::N, rows - i0));
    const T* source[V::N];
    for (int i = 0; i < lanes; ++i) {
      const int64_t c = (i0 + i) / taps, tap = i0 + i - c * taps;
      source[i] = from + c * planes.channel + tap_offset(s, planes, tap / s.s, tap % s.s);
    }
    for (int64_t l = 0; l < pq; l += V::N) {
      V row[V::N];
#pragma GCC unroll 16
      for (int i = 0; i < V::N; ++i) row[i] = i < lanes ? V::load(source[i] + l) : V(T(0));
      transpose(row);
#pragma GCC unroll 16
      for (int i = 0; i < V::N; ++i)
        if (l + i < pq) row[i].store_n(out + (l + i) * ld + i0, lanes);
    }
  }
}

}  // namespace

template <class T>
bool has_few_pixels(const ConvShape& s) {
  return s.n * s.p * s.q <= Blocking<T>::NR && s.k / s.groups >= 16;
}
template <class T>
Status few_pixels_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  constexpr int64_t N = Vec<T>::N;
  const int64_t filters = s.k / s.groups, channels = s.c / s.groups, taps = s.r * s.s;
  const int64_t pixels = round_up(s.n * s.p * s.q, N);
  const int64_t per_task = ceil_div(channels, max_of(1, kConvTasks / s.groups)),
                parts = ceil_div(channels, per_task);
  const int64_t packed = s.k * pixels, per_worker = round_up(per_task * taps * pixels, 16);
  T* const dy = workspace<T>(ctx, static_cast<size_t>(packed + ctx.threads * per_worker));
  if (!dy) return Status::need_workspace;
  pack_dy(s, static_cast<const T*>(params.dy), pixels, dy);
  const double nanoseconds =
      static_cast<double>(pixels * s.k) * static_cast<double>(channels * taps) / (2.0 * kVectorBytes);
  return parallel_for(ctx, s.groups * parts, nanoseconds, [&](int64_t task, int worker) {
    const int64_t group = task / parts, c0 = (task - group * parts) * per_task,
                  c1 = min_of(c0 + per_task, channels);
    const T* w = static_cast<const T*>(params.w) + (group * filters * channels + c0) * taps;
    T* const t = dy + packed + worker * per_worker;
    for (int64_t j = 0; j < (c1 - c0) * taps; j += N)
      for (int64_t l = 0; l < pixels; l += N)
        few_products(w + j, channels * taps, filters, static_cast<int>(min_of(N, (c1 - c0) * taps - j)),
                     dy + group * filters * pixels + l, pixels, t + j * pixels + l);
    for (int64_t n = 0; n < s.n; ++n)
      for (int64_t c = c0; c < c1; ++c)
        fold_channel(s, t + (c - c0) * taps * pixels + n * s.p * s.q, pixels, 0, s.p, true,
                     static_cast<T*>(params.out) + ((n * s.groups + group) * channels + c) * s.h * s.w);
  });
}

template <class T>
Status few_pixels_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s) {
  constexpr int64_t N = Vec<T>::N, NR = Blocking<T>::NR;
  constexpr int64_t kChannels = 32;  // of a task that makes patches
  const int64_t filters = s.k / s.groups, channels = s.c / s.groups, rows = channels * s.r * s.s;
  const int64_t all = s.n * s.p * s.q, pixels = round_up(all, N);
  const ShiftedPlanes planes = shifted_planes(s, s.p);
  // Rows of patches, and of the planes' sums, lie an odd number of lines apart: transposing writes N of them
  // at once.
  const int64_t ld = round_up(rows, 2 * N) + N, patches = s.groups * all * ld + NR;
  const int64_t per_worker = round_up(kChannels * planes.channel + N, 16);
  T* const dy =
      workspace<T>(ctx, static_cast<size_t>(s.k * pixels + round_up(patches, 16) + ctx.threads * per_worker));
  if (!dy) return Status::need_workspace;
  T *const patch = dy + s.k * pixels, *const own = patch + round_up(patches, 16);
  pack_dy(s, static_cast<const T*>(params.dy), pixels, dy);
  const int64_t parts = ceil_div(channels, kChannels);
  const Status packed =
      parallel_for(ctx, s.n * s.groups * parts, static_cast<double>(patches), [&](int64_t task, int worker) {
        const int64_t image = task / parts, c0 = (task - image * parts) * kChannels;  // image and group
        const int64_t n = image / s.groups, group = image - n * s.groups,
                      c1 = min_of(c0 + kChannels, channels);
        T* const mine = own + worker * per_worker;
        fill_planes(s, planes, static_cast<const T*>(params.x) + (image * channels + c0) * s.h * s.w, c1 - c0,
                    0, mine);
        pack_patches(s, planes, mine, c1 - c0, ld,
                     patch + (group * all + n * s.p * s.q) * ld + c0 * s.r * s.s);
      });
  if (packed != Status::ok) return packed;
  const int height = tile_rows<T>(filters, Blocking<T>::MR);
  const int64_t tiles = ceil_div(filters, height),
                per_task = ceil_div(tiles, max_of(1, kConvTasks / s.groups));
  const int64_t tasks = ceil_div(tiles, per_task);
  const double nanoseconds =
      static_cast<double>(pixels * s.k) * static_cast<double>(rows) / (2.0 * kVectorBytes);
  return parallel_for(ctx, s.groups * tasks, nanoseconds, [&](int64_t task, int) {
    const int64_t group = task / tasks, tile0 = (task - group * tasks) * per_task;
    for (int64_t m = tile0 * height; m < min_of((tile0 + per_task) * height, filters); m += height)
      for (int64_t j = 0; j < rows; j += NR) {
        const int64_t k = group * filters + m;
        micro_kernel(Tile<T>{.k = all,
                             .a = dy + k * pixels,
                             .rs_a = pixels,
                             .cs_a = 1,
                             .b = patch + group * all * ld + j,
                             .ldb = ld,
                             .packed_b = true,
                             .c = static_cast<T*>(params.out) + k * rows + j,
                             .ldc = rows},
                     static_cast<int>(min_of(height, filters - m)), static_cast<int>(min_of(NR, rows - j)));
      }
  });
}

template bool has_few_pixels<float>(const ConvShape& s);
template bool has_few_pixels<double>(const ConvShape& s);
template Status few_pixels_grad_input<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status few_pixels_grad_input<double>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status few_pixels_grad_weight<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status few_pixels_grad_weight<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
