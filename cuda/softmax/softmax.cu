// Softmax over `size` elements that lie `inner` apart, for outer * inner rows, and the cross-entropy of rows
// of logits. A row with NaN, with +inf, or of -inf only, gives NaN, as x - max(x) does. Sums follow a tree
// that depends on the row's length alone.
#include "backend/softmax.h"
#include "cuda/softmax/columns.cuh"
#include "cuda/softmax/cross_entropy.cuh"

namespace fastnn::cuda {
namespace {

bool empty(const SoftmaxParams& p) { return p.outer == 0 || p.size == 0 || p.inner == 0; }

template <class T, bool logarithmic>
Status forward(Context& ctx, const SoftmaxParams& p) {
  if (empty(p)) return Status::ok;
  return p.inner > 1 ? softmax_columns<T, logarithmic>(ctx, p) : softmax_rows<T, logarithmic>(ctx, p);
}
template <class T, bool logarithmic>
Status backward(Context& ctx, const SoftmaxParams& p) {
  if (empty(p)) return Status::ok;
  return p.inner > 1 ? softmax_backward_columns<T, logarithmic>(ctx, p)
                     : softmax_backward_rows<T, logarithmic>(ctx, p);
}

}  // namespace

template <class T>
Status softmax(Context& ctx, const SoftmaxParams& p) {
  return forward<T, false>(ctx, p);
}
template <class T>
Status log_softmax(Context& ctx, const SoftmaxParams& p) {
  return forward<T, true>(ctx, p);
}
template <class T>
Status softmax_backward(Context& ctx, const SoftmaxParams& p) {
  return backward<T, false>(ctx, p);
}
template <class T>
Status log_softmax_backward(Context& ctx, const SoftmaxParams& p) {
  return backward<T, true>(ctx, p);
}
template <class T>
Status cross_entropy(Context& ctx, const CrossEntropyParams& p) {
  return cross_entropy_forward<T>(ctx, p);
}
template <class T>
Status cross_entropy_backward(Context& ctx, const CrossEntropyParams& p) {
  return cross_entropy_gradient<T>(ctx, p);
}

FASTNN_EXPORT(SoftmaxTable, softmax, FASTNN_SOFTMAX)

}  // namespace fastnn::cuda
