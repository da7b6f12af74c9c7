// Activations. The backward kernels of most take the forward's output as `saved`: it is all they need, and
// the input can be freed.
#include "cuda/common/loops.cuh"
#include "cuda/common/math.cuh"

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

// P(X <= x) of a standard normal variable X, accurate in both tails.
template <class T>
__device__ T normal_below(T x) {
  return T(0.5) * math_erfc(x * T(-0.7071067811865476));
}
// 2 u, u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + tanh(u)) / 2 = sigmoid(2 u).
constexpr double kGeluSlope = 1.5957691216057308, kGeluCubic = 0.07135481627260025;

struct Gelu {
  template <class T>
  __device__ T operator()(T x) const {
    return x * normal_below(x);
  }
};
struct GeluBackward {  // of x, not of the output
  template <class T>
  __device__ T operator()(T dy, T x) const {
    const T density = T(0.3989422804014327) * math_exp(T(-0.5) * x * x);
    return dy * math_fma(x, density, normal_below(x));
  }
};
struct GeluTanh {
  template <class T>
  __device__ T operator()(T x) const {
    return x * Sigmoid()(x * math_fma(x * x, T(kGeluCubic), T(kGeluSlope)));
  }
};
struct GeluTanhBackward {
  template <class T>
  __device__ T operator()(T dy, T x) const {
    const T bounded = x < T(-64) ? T(-64) : x > T(64) ? T(64) : x;  // beyond it is 0 or 1
    const T square = bounded * bounded;
    const T s = Sigmoid()(bounded * math_fma(square, T(kGeluCubic), T(kGeluSlope)));
    const T inner = bounded * math_fma(square, T(3 * kGeluCubic), T(kGeluSlope));
    return dy * math_fma(s * (T(1) - s), inner, s);
  }
};
template <class T>
Status gelu(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Gelu());
}
template <class T>
Status gelu_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, GeluBackward());
}
template <class T>
Status gelu_tanh(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, GeluTanh());
}
template <class T>
Status gelu_tanh_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, GeluTanhBackward());
}

}  // namespace

FASTNN_EXPORT_PART(ElementwiseTable, activation, FASTNN_ACTIVATION)

}  // namespace fastnn::cuda
