// Convolution of N C H W images with K C/g R S filters to N K P Q, and its two gradients.
//
// Each of the three is an ordered list of algorithms, of which the first that applies is run; FASTNN_LOG=conv
// says which. What they share: roles are swapped against the usual, filters are rows and are broadcast, and
// vectors run along the pixels of an image, so that NCHW is read and written as it lies.
//
//   conv_depthwise.h  one channel in, one filter
//   conv_winograd.h   3x3 filters that step by one: forward and input gradient in tiles, with fewer products
//   conv_winograd_weight.h  and the filters' gradient
//   conv_direct.h     forward, and input gradient of filters that step by one: no packing per tap
//   conv_product.h    forward and input gradient: packed filters with panels of pixels. For strides above 1
//                     the pixels of dx fall into stride_h x stride_w phases; within a phase every pixel meets
//                     the same taps, so each phase is a dense convolution of dy with some of the taps, and
//                     nothing is multiplied with zeros put between pixels
//   conv_fold.h       input gradient where filters shrink their image a lot
//   conv_few.h        both gradients of few pixels
//   conv_dot.h        filters' gradient of few channels
//   conv_weight.h     filters' gradient
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/conv_phases.h"
#include "cpu/conv/depthwise.h"
#include "cpu/conv/direct.h"
#include "cpu/conv/few_channels.h"
#include "cpu/conv/few_pixels.h"
#include "cpu/conv/fold.h"
#include "cpu/conv/grad_weight.h"
#include "cpu/conv/winograd_grad_weight.h"

namespace fastnn::FASTNN_ISA {

template <class T>
ConvProduct<T> forward_product(const ConvParams& params, const ConvShape& s) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  ConvProduct<T> p{};
  p.grid = {s.n,
            s.p,
            s.q,
            1,
            static_cast<const T*>(params.x),
            channels,
            s.h,
            s.w,
            s.c * s.h * s.w,
            s.r,
            s.s,
            s.stride_h,
            s.stride_w,
            -s.pad_h,
            s.dilation_h,
            -s.pad_w,
            s.dilation_w};
  p.groups = s.groups, p.source_group = channels * s.h * s.w, p.filters = filters;
  p.w = static_cast<const T*>(params.w);
  p.w_group = filters * channels * s.r * s.s, p.w_filter = channels * s.r * s.s, p.w_channel = s.r * s.s,
  p.w_row = s.s, p.w_col = 1;
  p.bias = static_cast<const T*>(params.bias), p.relu = params.activation == Activation::relu;
  p.out = static_cast<T*>(params.out);
  p.out_image = s.k * s.p * s.q, p.out_group = filters * s.p * s.q, p.out_filter = s.p * s.q, p.out_row = s.q,
  p.out_col = 1;

  return p;
}

template <class T>
Status depthwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  return run_depthwise(ctx, forward_product<T>(params, s));
}

template <class T>
Status panel_forward(Context& ctx, const ConvParams& params, const ConvShape& s) {
  const ConvProduct<T> p = forward_product<T>(params, s);
  const ConvPlan<T> plan = plan_product(p);
  T* scratch = workspace<T>(ctx, scratch_of(ctx, plan));
  if (!scratch) return Status::need_workspace;
  return run_product(ctx, p, plan, scratch);
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

template <class T>
ConvProduct<T> grad_input_phase(const ConvParams& params, const ConvShape& s, int64_t a, int64_t b) {
  const int64_t channels = s.c / s.groups, filters = s.k / s.groups;
  const Phase row = phase_of(a, s.h, s.stride_h, s.pad_h, s.dilation_h, s.r);
  const Phase col = phase_of(b, s.w, s.stride_w, s.pad_w, s.dilation_w, s.s);
  ConvProduct<T> p{};
  // Where much of dy's surroundings is padding, images take turns by rows: a panel then leaves out whole rows
  // of taps.
  int64_t interleave = 1;
  if (s.n > 1 && col.pixels > 0 && share_inside(row, s.p) < 0.85) {
    const int64_t images = ceil_div(4 * Blocking<T>::NR, col.pixels);
    interleave = images < s.n ? images : s.n;
  }
  p.grid = {s.n,       row.pixels, col.pixels, interleave,      static_cast<const T*>(params.y),
            filters,   s.p,        s.q,        s.k * s.p * s.q, row.taps,
            col.taps,  1,          1,          row.start,       row.move,
            col.start, col.move};
  p.groups = s.groups, p.source_group = filters * s.p * s.q, p.filters = channels;
  p.w = static_cast<const T*>(params.w) + row.first * s.s + col.first;
  p.w_group = filters * channels * s.r * s.s, p.w_filter = s.r * s.s, p.w_channel = channels * s.r * s.s;
  p.w_row = row.step * s.s, p.w_col = col.step;
  p.out = static_cast<T*>(params.out) + a * s.w + b;
  p.out_image = s.c * s.h * s.w, p.out_group = channels * s.h * s.w, p.out_filter = s.h * s.w;
  p.out_row = s.stride_h * s.w, p.out_col = s.stride_w;
  return p;
}

template <class T>
Status phased_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s) {
  int64_t most = 0;
  for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
    for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
      const int64_t need = scratch_of(ctx, plan_product(grad_input_phase<T>(params, s, a, b)));
      if (need > most) most = need;
    }
  T* scratch = workspace<T>(ctx, most);
  if (!scratch) return Status::need_workspace;
  for (int64_t a = 0; a < s.stride_h && a < s.h; ++a)
    for (int64_t b = 0; b < s.stride_w && b < s.w; ++b) {
      const ConvProduct<T> p = grad_input_phase<T>(params, s, a, b);
      const Status status =
          is_depthwise(p) ? run_depthwise(ctx, p) : run_product(ctx, p, plan_product(p), scratch);
      if (status != Status::ok) return status;
    }
  return Status::ok;
}

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

// The first of a list that applies is run; the choice depends on the shape and the precision alone.
template <class T>
struct ConvAlgorithm {
  const char* name;
  bool (*applicable)(const ConvShape& s);
  Status (*run)(Context& ctx, const ConvParams& params, const ConvShape& s);
  bool fast = false;  // rounds more than the direct sums: not in Precision::fp32
};
inline bool always(const ConvShape&) { return true; }

template <class T>
constexpr ConvAlgorithm<T> kForward[] = {
    {"depthwise", is_depthwise<T>, depthwise_forward<T>},
    {"winograd 4x4", winograd_pays<T, 4>, winograd_forward<T, 4>, true},
    {"winograd 2x2", winograd_pays<T, 2>, winograd_forward<T, 2>},
    {"direct", direct_pays<T>, direct_forward<T>},
    {"panels", always, panel_forward<T>},
};
template <class T>
constexpr ConvAlgorithm<T> kGradInput[] = {
    {"few pixels", few_pixels_stride_1<T>, few_grad_input<T>},
    {"winograd 4x4", winograd_grad_pays<T, 4>, winograd_grad_input<T, 4>, true},
    {"winograd 2x2", winograd_grad_pays<T, 2>, winograd_grad_input<T, 2>},
    {"fold", fold_pays<T>, fold_grad_input<T>},
    {"depthwise", is_depthwise<T>, phased_grad_input<T>},
    {"direct", direct_grad_pays<T>, direct_grad_input<T>},
    {"phases", always, phased_grad_input<T>},
};
template <class T>
constexpr ConvAlgorithm<T> kGradWeight[] = {
    {"depthwise", is_depthwise<T>, depthwise_grad_weight<T>},
    {"few pixels", few_pixels<T>, few_grad_weight<T>},
    {"winograd 4x4", winograd_pays<T, 4>, winograd_grad_weight<T, 4>, true},
    {"winograd 2x2", winograd_pays<T, 2>, winograd_grad_weight<T, 2>},
    {"dot", dot_pays<T>, dot_grad_weight<T>},
    {"panels", always, panel_grad_weight<T>},
};

inline bool logs_choice() {
  static const bool on = [] {
    const char* subjects = getenv("FASTNN_LOG");
    return subjects && strstr(subjects, "conv");
  }();
  return on;
}

inline void log_choice(const char* product, const char* algorithm, const ConvShape& s) {
  const auto n = [](int64_t i) { return static_cast<long long>(i); };
  fprintf(stderr, "conv2d %s N%lld %lld->%lld %lldx%lld/%lldx%lld groups %lld @%lldx%lld: %s\n", product,
          n(s.n), n(s.c), n(s.k), n(s.r), n(s.s), n(s.stride_h), n(s.stride_w), n(s.groups), n(s.h), n(s.w),
          algorithm);
}

template <class T>
Status run_first(const char* product, const ConvAlgorithm<T>* algorithm, Context& ctx,
                 const ConvParams& params, const ConvShape& s) {
  while (!algorithm->applicable(s) || (algorithm->fast && ctx.precision == Precision::fp32)) ++algorithm;
  const Status status = algorithm->run(ctx, params, s);
  if (status != Status::need_workspace && logs_choice()) log_choice(product, algorithm->name, s);
  return status;
}

template <class T>
Status conv2d(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.k * s.p * s.q == 0) return Status::ok;
  return run_first("forward", kForward<T>, ctx, params, s);
}

template <class T>
Status conv2d_grad_input(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.c * s.h * s.w == 0) return Status::ok;
  return run_first("grad input", kGradInput<T>, ctx, params, s);
}

template <class T>
Status conv2d_grad_weight(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  const int64_t numel = s.k * (s.c / s.groups) * s.r * s.s;
  if (s.n * s.p * s.q == 0)
    for (int64_t i = 0; i < numel; ++i) static_cast<T*>(params.out)[i] = T(0);
  if (s.n * s.p * s.q * numel == 0) return Status::ok;
  return run_first("grad weight", kGradWeight<T>, ctx, params, s);
}

FASTNN_EXPORT(CONV)

}  // namespace fastnn::FASTNN_ISA
