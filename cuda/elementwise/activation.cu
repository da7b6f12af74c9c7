// Activations. The backward kernels of most take the forward's output as `saved`: it is all they need, and
// the input can be freed.
#include "cuda/elementwise/params.cuh"

namespace fastnn::cuda {
namespace {

struct Relu {  // NaN stays NaN, and -0 stays -0
  template <class W>
  __device__ W operator()(W x) const {
    return select(W::zero() > x, W::zero(), x);
  }
};
struct ReluBackward {
  template <class W>
  __device__ W operator()(W dy, W y) const {
    return select(y <= W::zero(), W::zero(), dy);
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

struct Sigmoid {
  template <class W>
  __device__ W operator()(W x) const {
    return sigmoid(x);
  }
};
struct SigmoidBackward {
  template <class W>
  __device__ W operator()(W dy, W y) const {
    return dy * (y * (W::constant(1) - y));
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
  template <class W>
  __device__ W operator()(W x) const {
    return tanh(x);
  }
};
struct TanhBackward {
  template <class W>
  __device__ W operator()(W dy, W y) const {
    return dy * (W::constant(1) - y * y);
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
template <class W>
__device__ W normal_below(W x) {
  return W::constant(0.5) * erfc(x * W::constant(-0.7071067811865476));
}
// 2 u, u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + tanh(u)) / 2 = sigmoid(2 u).
constexpr double kGeluSlope = 1.5957691216057308, kGeluCubic = 0.07135481627260025;

struct Gelu {
  template <class W>
  __device__ W operator()(W x) const {
    return x * normal_below(x);
  }
};
struct GeluBackward {  // of x, not of the output
  template <class W>
  __device__ W operator()(W dy, W x) const {
    const W density = W::constant(0.3989422804014327) * exp(W::constant(-0.5) * x * x);
    return dy * fma(x, density, normal_below(x));
  }
};
struct GeluTanh {
  template <class W>
  __device__ W operator()(W x) const {
    return x * sigmoid(x * fma(x * x, W::constant(kGeluCubic), W::constant(kGeluSlope)));
  }
};
struct GeluTanhBackward {
  template <class W>
  __device__ W operator()(W dy, W x) const {
    const W end = W::constant(64);  // beyond it the sigmoid is 0 or 1
    const W bounded = select(x < -end, -end, select(x > end, end, x));
    const W square = bounded * bounded;
    const W s = sigmoid(bounded * fma(square, W::constant(kGeluCubic), W::constant(kGeluSlope)));
    const W inner = bounded * fma(square, W::constant(3 * kGeluCubic), W::constant(kGeluSlope));
    return dy * fma(s * (W::constant(1) - s), inner, s);
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
