// Convolution of N C H W images with K C/g R S filters to N K P Q, and its two gradients. Each of the three
// is an ordered list of algorithms, of which the first that applies is run; FASTNN_LOG=conv says which.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/conv.h"
#include "cpu/conv/algorithms.h"
#include "cpu/conv/shape.h"

namespace fastnn::FASTNN_ISA {
namespace {

// The choice depends on the shape and the precision alone.
struct Algorithm {
  const char* name;
  bool (*applies)(const ConvShape& s);
  Status (*run)(Context& ctx, const ConvParams& params, const ConvShape& s);
  bool fast = false;  // rounds more than the direct sums: not in Precision::fp32
};
bool always(const ConvShape&) { return true; }
template <class T>
bool has_few_pixels_and_unit_stride(const ConvShape& s) {
  return s.stride_h == 1 && s.stride_w == 1 && has_few_pixels<T>(s);
}

template <class T>
struct Algorithms;
template <>
struct Algorithms<float> {
  static constexpr Algorithm forward[] = {
      {"depthwise", is_depthwise<float>, depthwise_forward<float>},
      {"winograd 4x4", winograd_pays<4>, winograd_forward<4>, true},
      {"winograd 2x2", winograd_pays<2>, winograd_forward<2>},
      {"pointwise", is_pointwise<float>, pointwise_forward<float>},
      {"direct", direct_pays<float>, direct_forward<float>},
      {"panels", always, product_forward<float>},
  };
  static constexpr Algorithm grad_input[] = {
      {"few pixels", has_few_pixels_and_unit_stride<float>, few_pixels_grad_input<float>},
      {"winograd 4x4", winograd_grad_pays<4>, winograd_grad_input<4>, true},
      {"winograd 2x2", winograd_grad_pays<2>, winograd_grad_input<2>},
      {"pointwise", is_pointwise<float>, pointwise_grad_input<float>},
      {"fold", fold_pays<float>, fold_grad_input<float>},
      {"depthwise", is_depthwise<float>, product_grad_input<float>},
      {"direct", direct_grad_pays<float>, direct_grad_input<float>},
      {"phases", always, product_grad_input<float>},
  };
  static constexpr Algorithm grad_weight[] = {
      {"depthwise", is_depthwise<float>, depthwise_grad_weight<float>},
      {"few pixels", has_few_pixels<float>, few_pixels_grad_weight<float>},
      {"winograd 4x4", winograd_pays<4>, winograd_grad_weight<4>, true},
      {"winograd 2x2", winograd_pays<2>, winograd_grad_weight<2>},
      {"dot", few_channels_pays<float>, few_channels_grad_weight<float>},
      {"panels", always, panel_grad_weight<float>},
  };
};
template <>
struct Algorithms<double> {
  static constexpr Algorithm forward[] = {
      {"depthwise", is_depthwise<double>, depthwise_forward<double>},
      {"pointwise", is_pointwise<double>, pointwise_forward<double>},
      {"direct", direct_pays<double>, direct_forward<double>},
      {"panels", always, product_forward<double>},
  };
  static constexpr Algorithm grad_input[] = {
      {"few pixels", has_few_pixels_and_unit_stride<double>, few_pixels_grad_input<double>},
      {"pointwise", is_pointwise<double>, pointwise_grad_input<double>},
      {"fold", fold_pays<double>, fold_grad_input<double>},
      {"depthwise", is_depthwise<double>, product_grad_input<double>},
      {"direct", direct_grad_pays<double>, direct_grad_input<double>},
      {"phases", always, product_grad_input<double>},
  };
  static constexpr Algorithm grad_weight[] = {
      {"depthwise", is_depthwise<double>, depthwise_grad_weight<double>},
      {"few pixels", has_few_pixels<double>, few_pixels_grad_weight<double>},
      {"dot", few_channels_pays<double>, few_channels_grad_weight<double>},
      {"panels", always, panel_grad_weight<double>},
  };
};

bool logs_choice() {
  static const bool on = [] {
    const char* subjects = getenv("FASTNN_LOG");
    return subjects && strstr(subjects, "conv");
  }();
  return on;
}

void log_choice(const char* product, const char* algorithm, const ConvShape& s) {
  const auto n = [](int64_t i) { return static_cast<long long>(i); };
  fprintf(stderr, "conv2d %s N%lld %lld->%lld %lldx%lld/%lldx%lld groups %lld @%lldx%lld: %s\n", product,
          n(s.n), n(s.c), n(s.k), n(s.r), n(s.s), n(s.stride_h), n(s.stride_w), n(s.groups), n(s.h), n(s.w),
          algorithm);
}

Status run_first(const char* product, const Algorithm* algorithm, Context& ctx, const ConvParams& params,
                 const ConvShape& s) {
  while (!algorithm->applies(s) || (algorithm->fast && ctx.precision == Precision::fp32)) ++algorithm;
  const Status status = algorithm->run(ctx, params, s);
  if (status != Status::need_workspace && logs_choice()) log_choice(product, algorithm->name, s);
  return status;
}

}  // namespace

template <class T>
Status conv2d(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.k * s.p * s.q == 0) return Status::ok;
  return run_first("forward", Algorithms<T>::forward, ctx, params, s);
}

template <class T>
Status conv2d_grad_input(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.c * s.h * s.w == 0) return Status::ok;
  return run_first("grad input", Algorithms<T>::grad_input, ctx, params, s);
}

template <class T>
Status conv2d_grad_weight(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  const int64_t numel = s.k * (s.c / s.groups) * s.r * s.s;
  if (s.n * s.p * s.q == 0)
    for (int64_t i = 0; i < numel; ++i) static_cast<T*>(params.out)[i] = T(0);
  if (s.n * s.p * s.q * numel == 0) return Status::ok;
  return run_first("grad weight", Algorithms<T>::grad_weight, ctx, params, s);
}

FASTNN_EXPORT(ConvTable, conv, FASTNN_CONV)

}  // namespace fastnn::FASTNN_ISA
