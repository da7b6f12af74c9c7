// Layer and batch normalisation. Sums are formed over chunks and blocks that depend on shapes alone.
#include "backend/norm.h"
#include "cpu/norm/columns.h"
#include "cpu/norm/layer.h"

namespace fastnn::FASTNN_ISA {

template <class T>
Status layer_norm(Context& ctx, const LayerNormParams& p) {
  if (p.weight) return p.bias ? layer_forward<T, true, true>(ctx, p) : layer_forward<T, true, false>(ctx, p);
  return p.bias ? layer_forward<T, false, true>(ctx, p) : layer_forward<T, false, false>(ctx, p);
}
template <class T>
Status layer_norm_backward(Context& ctx, const LayerNormParams& p) {
  const bool summed = p.dweight || p.dbias;
  if (p.weight)
    return summed ? layer_backward<T, true, true>(ctx, p) : layer_backward<T, true, false>(ctx, p);
  return summed ? layer_backward<T, false, true>(ctx, p) : layer_backward<T, false, false>(ctx, p);
}

template <class T>
Status batch_norm(Context& ctx, const BatchNormParams& p) {
  const bool rectified = p.activation == Activation::relu;
  if (p.inner == 1) return rectified ? columns_forward<T, true>(ctx, p) : columns_forward<T, false>(ctx, p);
  return rectified ? batch_forward<T, true>(ctx, p) : batch_forward<T, false>(ctx, p);
}
template <class T>
Status batch_norm_backward(Context& ctx, const BatchNormParams& p) {
  const bool masked = p.activation == Activation::relu;
  if (p.inner == 1) return masked ? columns_backward<T, true>(ctx, p) : columns_backward<T, false>(ctx, p);
  return masked ? batch_backward<T, true>(ctx, p) : batch_backward<T, false>(ctx, p);
}

FASTNN_EXPORT(NormTable, norm, FASTNN_NORM)

}  // namespace fastnn::FASTNN_ISA
