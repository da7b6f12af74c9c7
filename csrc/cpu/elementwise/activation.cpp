// Activations. The backward kernels of most take the forward's output as `saved`: it is all they need, and
// the input can be freed.
#include "backend/elementwise.h"
#include "cpu/elementwise/loops.h"
#include "cpu/simd/math_normal.h"

namespace fastnn::FASTNN_ISA {

// NaN stays NaN: max gives its second operand when either is NaN.
template <class T>
Status relu(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) { return max(Vec<T>(T(0)), x); });
}
template <class T>
Status relu_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, [](Vec<T> dy, Vec<T> y) { return select(y <= Vec<T>(T(0)), Vec<T>(T(0)), dy); });
}

template <class T>
Status sigmoid(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) { return sigmoid(x); }, kCostly<T>);
}
template <class T>
Status sigmoid_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, [](Vec<T> dy, Vec<T> y) { return dy * (y * (T(1) - y)); });
}

template <class T>
Status tanh(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) { return tanh(x); }, kCostly<T>);
}
template <class T>
Status tanh_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, [](Vec<T> dy, Vec<T> y) { return dy * (T(1) - y * y); });
}

// Here `saved` is x: the derivative is no function of y.
template <class T>
Status gelu(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) { return gelu(x); }, kCostly<T>);
}
template <class T>
Status gelu_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, [](Vec<T> dy, Vec<T> x) { return dy * gelu_derivative(x); }, kCostly<T>);
}
template <class T>
Status gelu_tanh(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) { return gelu_tanh(x); }, kCostly<T>);
}
template <class T>
Status gelu_tanh_backward(Context& ctx, const UnaryGradParams& p) {
  return map<T>(ctx, p, [](Vec<T> dy, Vec<T> x) { return dy * gelu_tanh_derivative(x); }, kCostly<T>);
}

FASTNN_EXPORT_PART(ElementwiseTable, activation, FASTNN_ACTIVATION)

}  // namespace fastnn::FASTNN_ISA
