// Convolution from shifted planes (conv_shift.h): filters are rows of a product and are read by broadcast
// from where they are, the pixels that a tap meets are read as vectors from its plane. Nothing is packed per
// tap. It serves
//
//   * few channels: a block of pixels' planes stay in cache while all filters pass by;
//   * few pixels: every element of the filters is then used once or twice, and packing them would cost more
//   than the
//     product. Planes of all images are filled first, and tasks share out the filters.
#pragma once
#include "conv_shift.h"
#include "gemm_tile.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kDirectPixels = 1024;       // of a block, about
constexpr int64_t kDirectElements = 1 << 16;  // of a block's planes: 256 KB, in L2

// A tile whose rows of B are at b + tap[p]; rows of B may be read in whole vectors.
template <class T>
struct TapTile {
  Tile<T> tile;
  const int32_t* tap;
};

template <class T, int MR, int NV>
void run_tap_tile(const TapTile<T>& t, int last) {
  using V = Vec<T>;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[i][j] = V(T(0));
  const T *a = t.tile.a, *b = t.tile.b;
  const int64_t rs_a = t.tile.rs_a, k = t.tile.k;
  const int32_t* const tap = t.tap;
  for (int64_t p = 0; p < k; ++p) {
    const T* from = b + tap[p];
    V row[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) row[j] = V::load(from + j * V::N), keep(row[j]);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V x(a[i * rs_a]);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
    ++a;
  }
  finish_tile<T, MR, NV>(t.tile, acc, last);
}

template <class T>
using TapTileFn = void (*)(const TapTile<T>&, int last);
template <class T, int NV, class = typename LanesUpTo<max_rows(NV)>::type>
struct TapTileTable;
template <class T, int NV, int... i>
struct TapTileTable<T, NV, Lanes<i...>> {
  static constexpr TapTileFn<T> rows[] = {run_tap_tile<T, i + 1, NV>...};
};

template <class T, int NV = 1>
FASTNN_INLINE void tap_kernel(const TapTile<T>& t, int m, int n) {
  const int last = n - (NV - 1) * Vec<T>::N;
  if (NV == kMaxVectors || last <= Vec<T>::N)
    TapTileTable<T, NV>::rows[m - 1](t, last);
  else if constexpr (NV < kMaxVectors)
    tap_kernel<T, NV + 1>(t, m, n);
}

// A function of the shape alone. A task is a block of pixels, some rows of some images, with some filters.
template <class T>
struct DirectPlan {
  ShiftedPlanes planes;
  int64_t filters, channels, depth;  // per group
  int64_t block_images, row_blocks, blocks;
  bool shared;  // planes are filled before the tasks that use them: these are some filters of a block each
  int64_t filter_parts, part_filters;
  int64_t offsets, block_elements, tile_elements;  // of scratch
  double nanoseconds;
};

template <class T>
DirectPlan<T> plan_direct(const ConvShape& s) {
  constexpr int64_t NR = Blocking<T>::NR;
  DirectPlan<T> d{};
  d.filters = s.k / s.groups, d.channels = s.c / s.groups, d.depth = d.channels * s.r * s.s;
  d.block_images = min_of(s.n, max_of(1, NR / (s.p * s.q)));
  int64_t rows = max_of(1, min_of(s.p, kDirectPixels / s.q));
  // Rows that fill whole panels of pixels, if there are many enough.
  for (int64_t whole = rows; whole > rows / 2 && rows < s.p; --whole)
    if (whole * s.q % NR == 0) {
      rows = whole;
      break;
    }
  d.planes = shifted_planes(s, rows, d.block_images);
  d.row_blocks = divide_up(s.p, rows);
  d.blocks = divide_up(s.n, d.block_images) * d.row_blocks * s.groups;
  d.shared = d.blocks < kConvTasks;
  const int64_t wanted = d.shared ? divide_up(kConvTasks, d.blocks) : 1;
  const int rows_of_tile = max_rows(kMaxVectors);
  d.part_filters = round_up(divide_up(d.filters, wanted), rows_of_tile);
  d.filter_parts = divide_up(d.filters, d.part_filters);
  d.offsets = round_up(d.depth, 16) * static_cast<int64_t>(sizeof(int32_t)) / static_cast<int64_t>(sizeof(T));
  d.block_elements = round_up(d.channels * d.planes.channel + NR, 16);
  d.tile_elements = d.block_images > 1 ? d.part_filters * NR : 0;
  d.nanoseconds =
      static_cast<double>(s.n * s.p * s.q) * static_cast<double>(s.k * d.depth) / (2.0 * kVectorBytes);
  return d;
}

template <class T>
struct DirectBlock {
  int64_t image, images, group, p0, rows;
  DirectBlock(const ConvShape& s, const DirectPlan<T>& d, int64_t block) {
    group = block % s.groups;
    const int64_t rest = block / s.groups;
    image = rest / d.row_blocks * d.block_images, images = min_of(d.block_images, s.n - image);
    p0 = rest % d.row_blocks * d.planes.rows, rows = min_of(d.planes.rows, s.p - p0);
  }
};

// Planes of channels [c0, c1) of a block.
template <class T>
void fill_block(const ConvShape& s, const DirectPlan<T>& d, const DirectBlock<T>& b, const T* x, int64_t c0,
                int64_t c1, T* planes) {
  for (int64_t n = 0; n < b.images; ++n)
    fill_planes(s, d.planes, x + (((b.image + n) * s.groups + b.group) * d.channels + c0) * s.h * s.w,
                c1 - c0, b.p0, planes + c0 * d.planes.channel + n * s.q);
}

// Filters [m0, m1) of a block of pixels.
template <class T>
void multiply_block(const ConvParams& params, const ConvShape& s, const DirectPlan<T>& d,
                    const DirectBlock<T>& b, int64_t m0, int64_t m1, const int32_t* tap, const T* planes,
                    T* tiles) {
  constexpr int64_t NR = Blocking<T>::NR, KC = Blocking<T>::KC;
  const bool dense = b.images == 1 && d.block_images == 1;
  const int64_t pixels = b.rows * d.planes.pitch;
  const T* w = static_cast<const T*>(params.w) + b.group * d.filters * d.depth;
  const T* bias = params.bias ? static_cast<const T*>(params.bias) + b.group * d.filters : nullptr;
  T* out =
      static_cast<T*>(params.out) + ((b.image * s.groups + b.group) * d.filters) * s.p * s.q + b.p0 * s.q;
  const int most = max_rows(static_cast<int>(divide_up(min_of(pixels, NR), Vec<T>::N)));
  const int height = even_rows(m1 - m0, most);
  for (int64_t m = m0; m < m1; m += height) {
    const int rows = static_cast<int>(min_of(height, m1 - m));
    const Epilogue<T> finish{nullptr, bias ? bias + m : nullptr, params.activation == Activation::relu};
    for (int64_t l = 0; l < pixels; l += NR) {
      T* const c = dense ? out + m * s.p * s.q + l : tiles + (m - m0) * NR;
      const int64_t ldc = dense ? s.p * s.q : NR;
      for (int64_t p = 0; p < d.depth; p += KC) {
        const int64_t k = min_of(KC, d.depth - p);
        tap_kernel(TapTile<T>{{k, w + m * d.depth + p, d.depth, 1, planes + l, 0, true, c, ldc, p > 0,
                               p + k == d.depth ? &finish : nullptr},
                              tap + p},
                   rows, static_cast<int>(min_of(NR, pixels - l)));
      }
    }
  }
  if (dense) return;
  // One panel: its rows are those of several images in turn.
  for (int64_t m = m0; m < m1; ++m)
    for (int64_t i = 0; i < b.rows; ++i)
      for (int64_t n = 0; n < b.images; ++n) {
        const T* from = tiles + (m - m0) * NR + i * d.planes.pitch + n * s.q;
        T* to = out + n * s.k * s.p * s.q + m * s.p * s.q + i * s.q;
        for (int64_t j = 0; j < s.q; j += Vec<T>::N) {
          const int lanes = static_cast<int>(min_of(Vec<T>::N, s.q - j));
          Vec<T>::load_n(from + j, lanes).store_n(to + j, lanes);
        }
      }
}

// Depth in one block or few pixels, planes in cache, and few idle lanes.
template <class T>
bool direct_pays(const ConvShape& s) {
  if (s.n * s.p * s.q == 0 || s.r * s.s * s.c == 0) return false;
  const DirectPlan<T> d = plan_direct<T>(s);
  if (s.n * s.p * s.q <= Blocking<T>::NR) return d.channels * d.planes.channel < 1 << 20;
  const int64_t pixels = d.block_images * s.p * s.q;
  return s.r * s.s > 1 && d.depth <= Blocking<T>::KC && d.channels * d.planes.channel <= kDirectElements &&
         4 * pixels >= 3 * round_up(pixels, Vec<T>::N);
}

template <class T>
Status direct_conv(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const DirectPlan<T> d = plan_direct<T>(s);
  const int64_t copies = d.shared ? d.blocks : ctx.threads;
  T* const scratch = workspace<T>(
      ctx, static_cast<size_t>(d.offsets + copies * d.block_elements + ctx.threads * d.tile_elements));
  if (!scratch) return Status::need_workspace;
  int32_t* const tap = reinterpret_cast<int32_t*>(scratch);
  T *const planes = scratch + d.offsets, *const tiles = planes + copies * d.block_elements;
  int32_t* next = tap;
  for (int64_t c = 0; c < d.channels; ++c)
    for (int64_t r = 0; r < s.r; ++r)
      for (int64_t t = 0; t < s.s; ++t)
        *next++ = static_cast<int32_t>(c * d.planes.channel + tap_offset(s, d.planes, r, t));
  const T* x = static_cast<const T*>(params.x);
  if (d.shared) {
    constexpr int64_t kChannels = 32;
    const int64_t parts = divide_up(d.channels, kChannels);
    const Status filled = parallel_for(
        ctx, d.blocks * parts, static_cast<double>(d.blocks * d.block_elements), [&](int64_t task, int) {
          const int64_t block = task / parts, c0 = (task - block * parts) * kChannels;
          fill_block(s, d, DirectBlock<T>(s, d, block), x, c0, min_of(c0 + kChannels, d.channels),
                     planes + block * d.block_elements);
        });
    if (filled != Status::ok) return filled;
  }
  return parallel_for(ctx, d.blocks * d.filter_parts, d.nanoseconds, [&](int64_t task, int worker) {
    const int64_t block = task / d.filter_parts, m0 = (task - block * d.filter_parts) * d.part_filters;
    const DirectBlock<T> b(s, d, block);
    T* const own = planes + (d.shared ? block : worker) * d.block_elements;
    if (!d.shared) fill_block(s, d, b, x, 0, d.channels, own);
    multiply_block(params, s, d, b, m0, min_of(m0 + d.part_filters, d.filters), tap, own,
                   tiles + worker * d.tile_elements);
  });
}

}  // namespace fastnn::FASTNN_ISA
