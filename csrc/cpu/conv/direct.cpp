// Convolution from shifted planes (shifted_planes.h): filters are rows of a product and are read by broadcast
// from where they are, the pixels that a tap meets are read as vectors from its plane. Nothing is packed per
// tap.
//
// A task is a block of pixels: it fills the planes of some channels at a time, few enough to stay in L2,
// while all filters pass by. Of few pixels the filters are used once, and reading them is the work: then the
// planes of all channels are filled first, and tasks share out the filters.
//
// The input gradient of filters that step by one is the same with dy as its source, the filters turned round
// by the table of taps, and their transpose, which is copied.
#include "cpu/conv/algorithms.h"
#include "cpu/conv/shifted_planes.h"
#include "cpu/gemm/tile.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int64_t kDirectPixels = 1024;       // of a block, about
constexpr int64_t kDirectLeast = 256;         // below it the filters are read too often
constexpr int64_t kDirectDepth = 576;         // of channels whose planes are filled at a time, about
constexpr int64_t kDirectElements = 1 << 17;  // of their planes: 512 KB, in L2
constexpr int64_t kDirectWeights = 1 << 16;   // elements of filters that stay in L2, whatever the pixels

// A vector of a shifted plane may lie across two cache lines, as one of a panel never does. Where so many
// taps, channels and filters use it, panels earn back what packing them costs: by 8 to 30%, measured.
constexpr int64_t kPanelTaps = 16, kPanelDepth = 512, kPanelFilters = kVectorBytes == 64 ? 192 : 32;

template <class T>
struct DirectOperands {
  const T *x, *w, *bias;  // w: [filter][channel][tap]
  bool relu;
  T* out;
  bool turned;  // tap (r, s) of w is tap (R - 1 - r, S - 1 - s) of the shape
};

// A function of the shape alone.
template <class T>
struct DirectPlan {
  ShiftedPlanes planes;
  int64_t filters, channels, taps, depth;  // per group; taps of a channel
  int64_t block_images, row_blocks, blocks;
  int64_t block_channels;
  bool stream;  // the output goes past the caches
  bool shared;  // planes are filled before the tasks that use them, which are some filters of a block each
  int64_t filter_parts, part_filters;
  int64_t offsets, block_elements, tile_elements;  // of scratch
  double nanoseconds;
};

// Rows of a block: such that they fill whole panels of pixels, if that takes away less than half.
template <class T>
int64_t whole_panels(int64_t rows, const ConvShape& s) {
  if (rows >= s.p) return s.p;
  for (int64_t whole = rows; whole > rows / 2; --whole)
    if (whole * s.q % Blocking<T>::NR == 0) return whole;
  return max_of(rows, 1);
}

template <class T>
DirectPlan<T> plan_direct(const ConvShape& s) {
  constexpr int64_t NR = Blocking<T>::NR;
  DirectPlan<T> d{};
  d.filters = s.k / s.groups, d.channels = s.c / s.groups, d.taps = s.r * s.s, d.depth = d.channels * d.taps;
  d.block_channels = ceil_div(d.channels, ceil_div(d.depth, kDirectDepth));
  d.block_images = min_of(s.n, max_of(1, NR / (s.p * s.q)));
  int64_t rows = max_of(1, min_of(s.p, kDirectPixels / s.q));
  const ShiftedPlanes one = shifted_planes(s, 1, d.block_images), two = shifted_planes(s, 2, d.block_images);
  const int64_t room = kDirectElements / d.block_channels - one.channel;
  if (s.n * s.p * s.q > NR) rows = min_of(rows, 1 + max_of(room, 0) / (two.channel - one.channel));
  d.planes = shifted_planes(s, whole_panels<T>(rows, s), d.block_images);
  d.row_blocks = ceil_div(s.p, d.planes.rows);
  d.blocks = ceil_div(s.n, d.block_images) * d.row_blocks * s.groups;
  d.stream = kVectorBytes >= 32 && d.block_images == 1 &&
             s.n * s.k * s.p * s.q * static_cast<int64_t>(sizeof(T)) >= kStreamBytes;
  d.shared = d.blocks < kConvTasks;
  const int64_t wanted = d.shared ? ceil_div(kConvTasks, d.blocks) : 1;
  d.part_filters = round_up(ceil_div(d.filters, wanted), max_rows(kMaxVectors));
  d.filter_parts = ceil_div(d.filters, d.part_filters);
  d.offsets = round_up(d.block_channels * d.taps, 16) * static_cast<int64_t>(sizeof(int32_t)) /
              static_cast<int64_t>(sizeof(T));
  d.block_elements = round_up((d.shared ? d.channels : d.block_channels) * d.planes.channel + NR, 16);
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
                c1 - c0, b.p0, planes + n * s.q);
}

// Filters [m0, m1) with channels [c0, c1) of a block of pixels. `many` is for blocks of several images.
template <class T>
void multiply_block(const DirectOperands<T>& o, const ConvShape& s, const DirectPlan<T>& d,
                    const DirectBlock<T>& b, int64_t m0, int64_t m1, int64_t c0, int64_t c1,
                    const int32_t* tap, const T* planes, T* many) {
  constexpr int64_t NR = Blocking<T>::NR;
  const int64_t pixels = b.rows * d.planes.pitch, pq = s.p * s.q;
  const T* w = o.w + b.group * d.filters * d.depth + c0 * d.taps;
  T* const out =
      d.block_images > 1 ? many : o.out + ((b.image * s.groups + b.group) * d.filters + m0) * pq + b.p0 * s.q;
  const int64_t ldc = d.block_images > 1 ? NR : pq;
  const int most = max_rows(static_cast<int>(ceil_div(min_of(pixels, NR), Vec<T>::N)));
  const int64_t tiles = ceil_div(m1 - m0, most);
  for (int64_t i = 0, first = 0; i < tiles; ++i) {
    // As even as can be: 32 rows by 6 are 5 5 6 5 5 6.
    const int64_t last = kEveryHeight<T> ? (m1 - m0) * (i + 1) / tiles : min_of(first + most, m1 - m0);
    const int64_t m = m0 + first;
    const Epilogue<T> finish{
        .row_bias = o.bias ? o.bias + b.group * d.filters + m : nullptr, .relu = o.relu, .stream = d.stream};
    Tile<T> t{
        .k = (c1 - c0) * d.taps,
        .a = w + m * d.depth,
        .rs_a = d.depth,
        .cs_a = 1,
        .b = planes,
        .b_rows = tap,
        .packed_b = true,
        .c = out + first * ldc,
        .ldc = ldc,
        .accumulate = c0 > 0,
        .epilogue = c1 == d.channels ? &finish : nullptr,
    };
    for (int64_t l = 0; l < pixels; l += NR, t.b += NR, t.c += NR)
      micro_kernel(t, static_cast<int>(last - first), static_cast<int>(min_of(NR, pixels - l)));
    first = last;
  }
}

// Rows of several images in turn to where they belong.
template <class T>
void scatter_rows(const ConvShape& s, const DirectPlan<T>& d, const DirectBlock<T>& b, int64_t m0, int64_t m1,
                  const T* tiles, T* out) {
  for (int64_t m = m0; m < m1; ++m, tiles += Blocking<T>::NR)
    for (int64_t i = 0; i < b.rows; ++i)
      for (int64_t n = 0; n < b.images; ++n) {
        const T* from = tiles + i * d.planes.pitch + n * s.q;
        T* to = out + ((((b.image + n) * s.groups + b.group) * d.filters + m) * s.p + b.p0 + i) * s.q;
        for (int64_t j = 0; j < s.q; j += Vec<T>::N) {
          const int lanes = static_cast<int>(min_of(Vec<T>::N, s.q - j));
          Vec<T>::load_n(from + j, lanes).store_n(to + j, lanes);
        }
      }
}

template <class T>
int64_t direct_scratch(const Context& ctx, const DirectPlan<T>& d) {
  return d.offsets + (d.shared ? d.blocks : ctx.threads) * d.block_elements + ctx.threads * d.tile_elements;
}

template <class T>
Status run_direct(Context& ctx, const DirectOperands<T>& o, const ConvShape& s, const DirectPlan<T>& d,
                  T* scratch) {
  int32_t* const tap = reinterpret_cast<int32_t*>(scratch);
  T* const planes = scratch + d.offsets;
  T* const tiles = planes + (d.shared ? d.blocks : ctx.threads) * d.block_elements;
  int32_t* next = tap;
  for (int64_t c = 0; c < d.block_channels; ++c)
    for (int64_t r = 0; r < s.r; ++r)
      for (int64_t t = 0; t < s.s; ++t) {
        const int64_t offset =
            o.turned ? tap_offset(s, d.planes, s.r - 1 - r, s.s - 1 - t) : tap_offset(s, d.planes, r, t);
        *next++ = static_cast<int32_t>(c * d.planes.channel + offset);
      }
  if (d.shared) {
    constexpr int64_t kChannels = 32;
    const int64_t parts = ceil_div(d.channels, kChannels);
    const Status filled = parallel_for(
        ctx, d.blocks * parts, static_cast<double>(d.blocks * d.block_elements), [&](int64_t task, int) {
          const int64_t block = task / parts, c0 = (task - block * parts) * kChannels;
          fill_block(s, d, DirectBlock<T>(s, d, block), o.x, c0, min_of(c0 + kChannels, d.channels),
                     planes + block * d.block_elements + c0 * d.planes.channel);
        });
    if (filled != Status::ok) return filled;
  }
  return parallel_for(ctx, d.blocks * d.filter_parts, d.nanoseconds, [&](int64_t task, int worker) {
    const int64_t block = task / d.filter_parts, m0 = (task - block * d.filter_parts) * d.part_filters;
    const int64_t m1 = min_of(m0 + d.part_filters, d.filters);
    const DirectBlock<T> b(s, d, block);
    T* const own = planes + (d.shared ? block : worker) * d.block_elements;
    T* const tile = tiles + worker * d.tile_elements;
    for (int64_t c0 = 0; c0 < d.channels; c0 += d.block_channels) {
      const int64_t c1 = min_of(c0 + d.block_channels, d.channels);
      if (!d.shared) fill_block(s, d, b, o.x, c0, c1, own);
      multiply_block(o, s, d, b, m0, m1, c0, c1, tap, d.shared ? own + c0 * d.planes.channel : own, tile);
    }
    if (d.block_images > 1) scatter_rows(s, d, b, m0, m1, tile, o.out);
    if (d.stream) stream_end();
  });
}

}  // namespace

template <class T>
bool direct_pays(const ConvShape& s) {
  if (s.n * s.k * s.p * s.q == 0 || s.r * s.s * s.c == 0) return false;
  const DirectPlan<T> d = plan_direct<T>(s);
  const int64_t planes = (d.shared ? d.channels : d.block_channels) * d.planes.channel;
  if (s.n * s.p * s.q <= Blocking<T>::NR) return planes < 1 << 20;
  if (d.taps >= kPanelTaps && d.depth >= kPanelDepth && d.filters >= kPanelFilters) return false;
  const int64_t pixels = d.block_images * d.planes.rows * s.q;
  // Rows of taps that share no plane leave as much to copy as panels do, and panels are smaller.
  if (s.r <= s.stride_h && planes > kDirectElements / 2) return false;
  return d.taps > 1 && planes <= (d.shared ? 1 << 20 : kDirectElements) &&
         (pixels >= kDirectLeast || d.filters * d.depth <= kDirectWeights) &&
         4 * pixels >= 3 * round_up(pixels, Vec<T>::N);
}

template <class T>
Status direct_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const DirectPlan<T> d = plan_direct<T>(s);
  T* const scratch = workspace<T>(ctx, static_cast<size_t>(direct_scratch(ctx, d)));
  if (!scratch) return Status::need_workspace;
  const DirectOperands<T> o{
      .x = static_cast<const T*>(params.x),
      .w = static_cast<const T*>(params.w),
      .bias = static_cast<const T*>(params.bias),
      .relu = params.activation == Activation::relu,
      .out = static_cast<T*>(params.out),
      .turned = false,
  };
  return run_direct(ctx, o, s, d, scratch);
}

template <class T>
bool direct_grad_pays(const ConvShape& s) {
  const ConvShape t = grad_input_shape(s);
  return s.stride_h == 1 && s.stride_w == 1 && t.pad_h >= 0 && t.pad_w >= 0 && direct_pays<T>(t);
}

template <class T>
Status direct_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const ConvShape turned = grad_input_shape(s);
  const DirectPlan<T> d = plan_direct<T>(turned);
  const int64_t weights = round_up(s.c * d.depth, 16);
  T* const scratch = workspace<T>(ctx, static_cast<size_t>(weights + direct_scratch(ctx, d)));
  if (!scratch) return Status::need_workspace;
  const T* w = static_cast<const T*>(params.w);
  const Status copied = parallel_for(ctx, s.c, static_cast<double>(weights), [&](int64_t task, int) {
    const int64_t group = task / d.filters, c = task - group * d.filters;
    T* to = scratch + task * d.depth;
    const T* from = w + (group * d.channels * d.filters + c) * d.taps;
    for (int64_t k = 0; k < d.channels; ++k, from += d.filters * d.taps)
      for (int64_t i = 0; i < d.taps; ++i) *to++ = from[i];
  });
  if (copied != Status::ok) return copied;
  const DirectOperands<T> o{
      .x = static_cast<const T*>(params.dy),
      .w = scratch,
      .bias = nullptr,
      .relu = false,
      .out = static_cast<T*>(params.out),
      .turned = true,
  };
  return run_direct(ctx, o, turned, d, scratch + weights);
}

template bool direct_pays<float>(const ConvShape& s);
template bool direct_pays<double>(const ConvShape& s);
template Status direct_forward<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status direct_forward<double>(Context& ctx, const ConvParams& params, const ConvShape& s);
template bool direct_grad_pays<float>(const ConvShape& s);
template bool direct_grad_pays<double>(const ConvShape& s);
template Status direct_grad_input<float>(Context& ctx, const ConvParams& params, const ConvShape& s);
template Status direct_grad_input<double>(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
