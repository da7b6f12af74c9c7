// Reading and writing by index.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

// Slices of `inner` dense elements. gather: y[i] = x[offset[i]]; scatter_add: y[offset[i]] += x[i], in order
// of i; put: y[offset[i]] = x[i], in order of i. Offsets count elements of x (of y for scatter_add and put)
// and are in range.
struct IndexParams {
  void* y;
  const void* x;
  const int64_t* offset;
  int64_t count, inner;
  Touch indexed;  // the operand that offsets reach into

  double flops() const { return 0; }
  double nanoseconds() const { return static_cast<double>(count * inner); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    const int64_t bytes = count * inner * size;
    f(read_of(offset, count * static_cast<int64_t>(sizeof(int64_t))));
    f(Touch{indexed.data, indexed.extent, bytes, indexed.access});
    f(indexed.access == Access::read ? write_of(y, bytes) : read_of(x, bytes));
  }
};
struct NonzeroParams {  // the offsets of the elements that are true, in row-major order of the loop, as many
                        // as there are
  int64_t* y;
  const bool* x;
  Loop<2> loop;  // dimensions in order; strides of operand 0 make the offset, of operand 1 walk x
  int64_t count;

  double flops() const { return 0; }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t, F&& f) const {
    f(strided(loop, 1, x, 1, Access::read));
    f(write_of(y, count * static_cast<int64_t>(sizeof(int64_t))));
  }
};
struct IndexRangeParams {  // smallest and largest of `count` indices
  const int64_t* index;
  int64_t count;
  int64_t* range;  // {min, max}

  double flops() const { return 0; }
  double nanoseconds() const { return static_cast<double>(count); }
  template <class F>
  void touches(int64_t, F&& f) const {
    f(read_of(index, count * static_cast<int64_t>(sizeof(int64_t))));
    f(write_of(range, 2 * sizeof(int64_t)));
  }
};

#define FASTNN_INDEX(K)                            \
  K(gather, IndexParams, ALL, CPU | CUDA)          \
  K(scatter_add, IndexParams, NUMERIC, CPU | CUDA) \
  K(put, IndexParams, ALL, CPU | CUDA)             \
  K(nonzero, NonzeroParams, BOOLS, CPU | CUDA)     \
  K(index_range, IndexRangeParams, bit(DType::int64), CPU | CUDA)
FASTNN_TABLE(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn
