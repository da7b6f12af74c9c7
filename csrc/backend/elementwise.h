// Element by element: arithmetic, comparisons, functions, activations; copies, casts and fills.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

struct UnaryParams {
  void* y;
  const void* x;
  Loop<2> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, y, size, Access::write));
    f(strided(loop, 1, x, size, Access::read));
  }
};
struct UnaryGradParams {  // dx = f'(saved) * dy, where saved is the forward's input or output, as the
                          // kernel's row says
  void* dx;
  const void* dy;
  const void* saved;
  Loop<3> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, dx, size, Access::write));
    f(strided(loop, 1, dy, size, Access::read));
    f(strided(loop, 2, saved, size, Access::read));
  }
};
struct BinaryParams {
  void* out;
  const void* a;
  const void* b;
  Loop<3> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, out, size, Access::write));
    f(strided(loop, 1, a, size, Access::read));
    f(strided(loop, 2, b, size, Access::read));
  }
};
struct WhereParams {  // out = condition ? a : b; condition is bool
  void* out;
  const bool* condition;
  const void* a;
  const void* b;
  Loop<4> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, out, size, Access::write));
    f(strided(loop, 1, condition, 1, Access::read));
    f(strided(loop, 2, a, size, Access::read));
    f(strided(loop, 3, b, size, Access::read));
  }
};
struct CastParams {  // y (dtype `to`) = x (the row's dtype); also the strided copy, with to == from
  void* y;
  const void* x;
  DType to;
  Loop<2> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, y, static_cast<int64_t>(size_of(to)), Access::write));
    f(strided(loop, 1, x, size, Access::read));
  }
};
struct FillParams {  // y = value; integers and bools are passed in `integer`
  void* y;
  double value;
  int64_t integer;
  Loop<1> loop;

  double flops() const { return static_cast<double>(loop.numel); }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, y, size, Access::write));
  }
};
struct ArangeParams {  // y[i] = start + i * step
  void* y;
  int64_t numel;
  double start, step;

  double flops() const { return static_cast<double>(numel); }
  double nanoseconds() const { return static_cast<double>(numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(write_of(y, numel * size));
  }
};

#define FASTNN_ELEMENTWISE(K)                      \
  K(add, BinaryParams, NUMERIC, CPU | CUDA)        \
  K(sub, BinaryParams, NUMERIC, CPU | CUDA)        \
  K(mul, BinaryParams, NUMERIC, CPU | CUDA)        \
  K(div, BinaryParams, FLOATS, CPU | CUDA)         \
  K(pow, BinaryParams, FLOATS, CPU | CUDA)         \
  K(maximum, BinaryParams, NUMERIC, CPU | CUDA)    \
  K(minimum, BinaryParams, NUMERIC, CPU | CUDA)    \
  K(neg, UnaryParams, NUMERIC, CPU | CUDA)         \
  K(abs, UnaryParams, NUMERIC, CPU | CUDA)         \
  K(sign, UnaryParams, NUMERIC, CPU | CUDA)        \
  K(exp, UnaryParams, FLOATS, CPU | CUDA)          \
  K(log, UnaryParams, FLOATS, CPU | CUDA)          \
  K(sqrt, UnaryParams, FLOATS, CPU | CUDA)         \
  K(erf, UnaryParams, FLOATS, CPU | CUDA)          \
  K(eq, BinaryParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(ne, BinaryParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(lt, BinaryParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(le, BinaryParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(logical_and, BinaryParams, BOOLS, CPU | CUDA)  \
  K(logical_or, BinaryParams, BOOLS, CPU | CUDA)   \
  K(logical_not, UnaryParams, BOOLS, CPU | CUDA)   \
  K(where, WhereParams, NUMERIC | BOOLS, CPU | CUDA)

#define FASTNN_ACTIVATION(K)                               \
  K(relu, UnaryParams, FLOATS, CPU | CUDA)                 \
  K(relu_backward, UnaryGradParams, FLOATS, CPU | CUDA)    \
  K(sigmoid, UnaryParams, FLOATS, CPU | CUDA)              \
  K(sigmoid_backward, UnaryGradParams, FLOATS, CPU | CUDA) \
  K(tanh, UnaryParams, FLOATS, CPU | CUDA)                 \
  K(tanh_backward, UnaryGradParams, FLOATS, CPU | CUDA)    \
  K(gelu, UnaryParams, FLOATS, CPU | CUDA)                 \
  K(gelu_backward, UnaryGradParams, FLOATS, CPU | CUDA)    \
  K(gelu_tanh, UnaryParams, FLOATS, CPU | CUDA)            \
  K(gelu_tanh_backward, UnaryGradParams, FLOATS, CPU | CUDA)

#define FASTNN_COPY(K)                 \
  K(cast, CastParams, ALL, CPU | CUDA) \
  K(fill, FillParams, ALL, CPU | CUDA) \
  K(arange, ArangeParams, NUMERIC, CPU | CUDA)

#define FASTNN_ELEMENTWISE_ALL(K) FASTNN_ELEMENTWISE(K) FASTNN_ACTIVATION(K) FASTNN_COPY(K)
FASTNN_TABLE(ElementwiseTable, elementwise, FASTNN_ELEMENTWISE_ALL)

}  // namespace fastnn
