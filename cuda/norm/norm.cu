// Layer and batch normalisation.
#include "backend/norm.h"
#include "cuda/norm/batch.cuh"
#include "cuda/norm/layer.cuh"

namespace fastnn::cuda {

template <class T>
Status layer_norm(Context& ctx, const LayerNormParams& p) {
  return layer_norm_forward<T>(ctx, p);
}
template <class T>
Status layer_norm_backward(Context& ctx, const LayerNormParams& p) {
  return layer_norm_gradients<T>(ctx, p);
}
template <class T>
Status batch_norm(Context& ctx, const BatchNormParams& p) {
  return batch_norm_forward<T>(ctx, p);
}
template <class T>
Status batch_norm_backward(Context& ctx, const BatchNormParams& p) {
  return batch_norm_gradients<T>(ctx, p);
}

FASTNN_EXPORT(NormTable, norm, FASTNN_NORM)

}  // namespace fastnn::cuda
