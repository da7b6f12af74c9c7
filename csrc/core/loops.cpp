// The nest of loops that kernels walk, made of shapes and strides.
#include "core/tensor.h"

namespace fastnn {

Dims broadcast_strides(const Tensor& x, const Dims& shape) {
  if (x.shape() == shape) return x.strides();
  Dims strides(shape.size(), 0);
  const int lead = shape.size() - x.dim();
  for (int i = 0; i < x.dim(); ++i) strides[lead + i] = x.size(i) == 1 ? 0 : x.strides()[i];
  return strides;
}

void fill_loop(int operands, const Dims& shape, const Dims* strides, int* ndim, int64_t* numel,
               int64_t* extent, int64_t (*stride)[kMaxDims]) {
  *numel = 1;
  for (int64_t d : shape) *numel *= d;
  // Largest stride outermost, by the first operand that tells two dimensions apart.
  auto outer = [&](int a, int b) {
    for (int k = 0; k < operands; ++k) {
      const int64_t sa = std::abs(strides[k][a]), sb = std::abs(strides[k][b]);
      if (sa == 0 || sb == 0) continue;
      if (sa != sb) return sa > sb;
    }
    return a < b;
  };
  int order[kMaxDims];
  const int n = sort_dims(shape, order, outer);

  *ndim = 0;
  for (int i = 0; i < n; ++i) {
    const int d = order[i];
    const int last = *ndim - 1;
    bool merge = last >= 0;
    for (int k = 0; merge && k < operands; ++k) merge = stride[k][last] == strides[k][d] * shape[d];
    const int at = merge ? last : (*ndim)++;
    extent[at] = merge ? extent[last] * shape[d] : shape[d];
    for (int k = 0; k < operands; ++k) stride[k][at] = strides[k][d];
  }
  if (*ndim == 0) {
    *ndim = 1;
    extent[0] = 1;
    for (int k = 0; k < operands; ++k) stride[k][0] = 0;
  }
}

template <int N>
Loop<N> make_loop(const Dims& shape, const Dims (&strides)[N]) {
  Loop<N> loop;
  fill_loop(N, shape, strides, &loop.ndim, &loop.numel, loop.shape, loop.stride);
  return loop;
}
template Loop<1> make_loop<1>(const Dims&, const Dims (&)[1]);
template Loop<2> make_loop<2>(const Dims&, const Dims (&)[2]);

}  // namespace fastnn
