// Layer and batch normalisation. Sums are formed over chunks and blocks that depend on shapes alone.
#include "backend/norm.h"
#include "cpu/norm/columns.h"
#include "cpu/norm/layer.h"

namespace fastnn::FASTNN_ISA {

template <class T>
Status layer_norm(Context& ctx, const LayerNormParams& p) {
  return layer_forward<T>(ctx, p);
}
template <class T>
Status layer_norm_backward(Context& ctx, const LayerNormParams& p) {
  return layer_backward<T>(ctx, p);
}

template <class T>
Status batch_norm(Context& ctx, const BatchNormParams& p) {
  const bool rectified = p.activation == Activation::relu;
  if (p.inner == 1) return rectified ? columns_forward<T, true>(ctx, p) : columns_forward<T, false>(ctx, p);
  return batch_forward<T>(ctx, p);
}
template <class T>
Status batch_norm_backward(Context& ctx, const BatchNormParams& p) {
  const bool masked = p.activation == Activation::relu;
  if (p.inner == 1) return masked ? columns_backward<T, true>(ctx, p) : columns_backward<T, false>(ctx, p);
  return batch_backward<T>(ctx, p);
}

FASTNN_EXPORT(NormTable, norm, FASTNN_NORM)

}  // namespace fastnn::FASTNN_ISA
