// Normalisation: y = (x - mean) rstd weight + bias, rstd = 1 / sqrt(variance + eps). All dense, row-major;
// weight and bias may be null (1 and 0). Backward: gradients that are not wanted are null.
#pragma once
#include "backend/gemm.h"

namespace fastnn {

struct LayerNormParams {  // of each of `rows` rows of `size` elements; weight and bias have `size`
  int64_t rows, size;
  const void* x;
  const void* weight;
  const void* bias;
  double eps;
  void* mean;  // rows; forward: written; backward: read
  void* rstd;
  void* y;         // forward
  const void* dy;  // backward
  void* dx;
  void* dweight;
  void* dbias;

  static constexpr bool kCancellable = true;

  double flops() const { return (dy ? 14.0 : 7.0) * nanoseconds(); }
  double nanoseconds() const { return static_cast<double>(rows * size); }
  template <class F>
  void touches(int64_t bytes, F&& f) const {
    const int64_t all = rows * size * bytes, row = size * bytes;
    const Access statistics = dy ? Access::read : Access::write;
    f(read_of(x, all));
    if (weight) f(read_of(weight, row));
    if (bias) f(read_of(bias, row));
    f(dense(mean, rows * bytes, statistics));
    f(dense(rstd, rows * bytes, statistics));
    if (y) f(write_of(y, all));
    if (dy) f(read_of(dy, all));
    if (dx) f(write_of(dx, all));
    if (dweight) f(write_of(dweight, row));
    if (dbias) f(write_of(dbias, row));
  }
};
struct BatchNormParams {  // of each of `c` channels of x (n c inner); everything per channel has `c` elements
  int64_t n, c, inner;
  const void* x;
  const void* weight;
  const void* bias;
  double eps;
  bool training;          // mean and variance are the batch's, else the running ones
  Activation activation;  // forward: of y; backward: dy passes where y is positive
  void* running_mean;     // forward; training: r += momentum (new - r), or null
  void* running_var;
  double momentum;
  void* mean;  // forward: written; backward: read
  void* rstd;
  void* y;         // forward
  const void* dy;  // backward
  void* dx;
  void* dweight;
  void* dbias;

  bool cancellable() const { return !training || !running_mean; }  // running statistics would move twice

  double flops() const { return (dy ? 14.0 : 7.0) * nanoseconds(); }
  double nanoseconds() const { return static_cast<double>(n * c * inner); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    const int64_t all = n * c * inner * size, channels = c * size;
    const Access statistics = dy ? Access::read : Access::write;
    f(read_of(x, all));
    if (weight) f(read_of(weight, channels));
    if (bias) f(read_of(bias, channels));
    if (running_mean) f(dense(running_mean, channels, training ? Access::update : Access::read));
    if (running_var) f(dense(running_var, channels, training ? Access::update : Access::read));
    f(dense(mean, channels, statistics));
    f(dense(rstd, channels, statistics));
    if (y) f(write_of(y, all));
    if (dy) f(read_of(dy, all));
    if (dx) f(write_of(dx, all));
    if (dweight) f(write_of(dweight, channels));
    if (dbias) f(write_of(dbias, channels));
  }
};

#define FASTNN_NORM(K)                                        \
  K(layer_norm, LayerNormParams, FLOATS, CPU | CUDA)          \
  K(layer_norm_backward, LayerNormParams, FLOATS, CPU | CUDA) \
  K(batch_norm, BatchNormParams, FLOATS, CPU | CUDA)          \
  K(batch_norm_backward, BatchNormParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(NormTable, norm, FASTNN_NORM)

}  // namespace fastnn
