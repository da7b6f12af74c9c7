// Reductions.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

// y[kept] = reduce over `reduced` of x. Two nests: `kept` runs over the outputs (operand 0 is y, 1 is x),
// `reduced` over the elements that fall into one output (operand 0 is x). Both are merged as in Loop. y is
// dense in row-major order of `kept`.
struct ReduceParams {
  void* y;
  int64_t*
      index;  // argmax, argmin: position in row-major order of `reduced`; max, min: optional, may be null
  const void* x;
  Loop<2> kept;
  Loop<1> reduced;
  double scale;      // sum: y = scale * sum (mean passes 1/n)
  int64_t out_size;  // bytes of an element of y

  static constexpr bool kCancellable = true;

  double flops() const { return static_cast<double>(kept.numel * reduced.numel); }
  double nanoseconds() const { return 0.3 * flops(); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    const Touch outer = strided(kept, 1, x, size, Access::read),
                inner = strided(reduced, 0, outer.data, size, Access::read);
    f(Touch{inner.data, outer.extent + inner.extent - (outer.extent && inner.extent ? size : 0),
            outer.moved / size * inner.moved, Access::read});
    if (y) f(write_of(y, kept.numel * out_size));
    if (index) f(write_of(index, kept.numel * static_cast<int64_t>(sizeof(int64_t))));
  }
};

#define FASTNN_REDUCE(K)                               \
  K(sum, ReduceParams, NUMERIC | BOOLS, CPU | CUDA)    \
  K(max, ReduceParams, NUMERIC | BOOLS, CPU | CUDA)    \
  K(min, ReduceParams, NUMERIC | BOOLS, CPU | CUDA)    \
  K(argmax, ReduceParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(argmin, ReduceParams, NUMERIC | BOOLS, CPU | CUDA)
FASTNN_TABLE(ReduceTable, reduce, FASTNN_REDUCE)

}  // namespace fastnn
