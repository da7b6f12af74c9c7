// Activations. The backward kernels take the forward's output as `saved`: it is all they need, and the input
// can be freed.
#include "loops.cuh"
#include "math.cuh"

namespace fastnn::cuda {
namespace {

struct Relu {  // NaN stays NaN, and -0 stays -0
  template <class T>
  __device__ T operator()(T x) const {
    return T(0) > x ? T(0) : x;
  }
};
struct ReluBackward {
  template <class T>
  __device__ T operator()(T dy, T y) const {
    return y <= T(0) ? T(0) : dy;
  }
};
template <class T>
Status relu(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Relu());
}
template <class T>
Status relu_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, ReluBackward());
}

struct Sigmoid {  // 1 / (1 + e^-x) in e^-|x|, so that neither end overflows
  template <class T>
  __device__ T operator()(T x) const {
    const T e = math_exp(-math_abs(x));
    return (x < T(0) ? e : T(1)) / (T(1) + e);
  }
};
struct SigmoidBackward {
  template <class T>
  __device__ T operator()(T dy, T y) const {
    return dy * (y * (T(1) - y));
  }
};
template <class T>
Status sigmoid(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Sigmoid());
}
template <class T>
Status sigmoid_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, SigmoidBackward());
}

struct Tanh {
  template <class T>
  __device__ T operator()(T x) const {
    return math_tanh(x);
  }
};
struct TanhBackward {
  template <class T>
  __device__ T operator()(T dy, T y) const {
    return dy * (T(1) - y * y);
  }
};
template <class T>
Status tanh(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Tanh());
}
template <class T>
Status tanh_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, TanhBackward());
}

}  // namespace

FASTNN_EXPORT(ACTIVATION)

}  // namespace fastnn::cuda
