// Convolution of N C H W images with K C/g R S filters to N K P Q, and its two gradients.
//
// implicit_gemm.cuh has all three as products by tiles, depthwise.cuh those of one channel per filter,
// direct.cuh what the others cannot count.
#include "backend/conv.h"
#include "cuda/conv/depthwise.cuh"
#include "cuda/conv/direct.cuh"
#include "cuda/conv/implicit_gemm.cuh"

namespace fastnn::cuda {

template <class T>
struct ConvAlgorithm {
  const char* name;
  bool (*applicable)(const Context& ctx, const ConvShape& s);
  Status (*run)(Context& ctx, const ConvParams& params, const ConvShape& s);
};

inline bool always(const Context&, const ConvShape&) { return true; }
inline bool implicit_gemm_applies(const Context&, const ConvShape& s) { return fits_32_bits(s); }
inline bool phases_apply(const Context&, const ConvShape& s) {
  return fits_32_bits(s) && s.stride_h * s.stride_w <= kMostPhases;
}

// In each list, the first that applies is run.
template <class T>
constexpr ConvAlgorithm<T> kForward[] = {
    {"depthwise", depthwise_forward_applies<T>, depthwise_forward<T>},
    {"implicit gemm", implicit_gemm_applies, implicit_gemm_forward<T>},
    {"direct", always, direct_forward<T>},
};
template <class T>
constexpr ConvAlgorithm<T> kGradInput[] = {
    {"depthwise", depthwise_grad_input_applies<T>, depthwise_grad_input<T>},
    {"implicit gemm", phases_apply, implicit_gemm_grad_input<T>},
    {"direct", always, direct_grad_input<T>},
};
template <class T>
constexpr ConvAlgorithm<T> kGradWeight[] = {
    {"depthwise", depthwise_grad_weight_applies, depthwise_grad_weight<T>},
    {"implicit gemm", implicit_gemm_applies, implicit_gemm_grad_weight<T>},
    {"direct", always, direct_grad_weight<T>},
};

template <class T>
Status run_first(Context& ctx, const ConvParams& params, const ConvShape& s,
                 const ConvAlgorithm<T>* algorithm) {
  while (!algorithm->applicable(ctx, s)) ++algorithm;
  return algorithm->run(ctx, params, s);
}

template <class T>
Status conv2d(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.k * s.p * s.q == 0) return Status::ok;
  return run_first(ctx, params, s, kForward<T>);
}

template <class T>
Status conv2d_grad_input(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.n * s.c * s.h * s.w == 0) return Status::ok;
  return run_first(ctx, params, s, kGradInput<T>);
}

template <class T>
Status conv2d_grad_weight(Context& ctx, const ConvParams& params) {
  const ConvShape s = flatten(params.shape);
  if (s.k * s.c * s.r * s.s == 0) return Status::ok;
  return run_first(ctx, params, s, kGradWeight<T>);
}

FASTNN_EXPORT(ConvTable, conv, FASTNN_CONV)

}  // namespace fastnn::cuda
