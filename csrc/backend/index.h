// Reading and writing by index.
#pragma once
#include "backend/bad_index.h"
#include "backend/kernel.h"

namespace fastnn {

// The offset of a slice that an index out of range asks for.
constexpr int64_t kNowhere = INT64_MIN;

// Slices of `inner` dense elements. gather: y[i] = x[offset[i]]; scatter_add: y[offset[i]] += x[i], in order
// of i; put: y[offset[i]] = x[i], in order of i. Offsets count elements of x (of y for scatter_add and put):
// they are lowest + k * unit for k in [0, places) or, only on a device that runs behind, kNowhere: such a
// slice is read as zeros, and not written.
struct IndexParams {
  void* y;
  const void* x;
  const int64_t* offset;
  int64_t count, inner;
  int64_t lowest, unit, places;
  Touch indexed;  // the operand that offsets reach into

  bool cancellable() const { return indexed.access == Access::read; }  // gather writes a new tensor
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

// From indices to offsets, which nobody else can change: offset at i, dense over `shape`, is `start` and the
// sum of i[d] * step[d] over the dimensions and of a term for each index tensor, read at sum of i[d] *
// stride[d].
struct LocateParams {
  static constexpr bool kChecksIndices = true, kCancellable = true;
  struct Term {
    const int64_t* index;
    int64_t stride[kMaxDims];
    int64_t step;    // of the tensor that is indexed; an index counts from the end if it is negative
    IndexRule rule;  // without an op: these are offsets already
  };

  int64_t* offset;
  int64_t start, numel;
  int64_t shape[kMaxDims], step[kMaxDims];
  Term term[kMaxDims];
  int ndim, terms;

  double flops() const { return 0; }
  double nanoseconds() const { return 1.5 * static_cast<double>(numel * (1 + terms)); }
  template <class F>
  void touches(int64_t, F&& f) const {
    f(write_of(offset, numel * static_cast<int64_t>(sizeof(int64_t))));
    for (int t = 0; t < terms; ++t) {
      Loop<1> loop{ndim, numel, {}, {}};
      for (int d = 0; d < ndim; ++d) loop.shape[d] = shape[d], loop.stride[0][d] = term[t].stride[d];
      f(strided(loop, 0, term[t].index, sizeof(int64_t), Access::read));
    }
  }
};

#define FASTNN_INDEX(K)                            \
  K(gather, IndexParams, ALL, CPU | CUDA)          \
  K(scatter_add, IndexParams, NUMERIC, CPU | CUDA) \
  K(put, IndexParams, ALL, CPU | CUDA)             \
  K(nonzero, NonzeroParams, BOOLS, CPU | CUDA)     \
  K(locate, LocateParams, bit(DType::int64), CPU | CUDA)
FASTNN_TABLE(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn
