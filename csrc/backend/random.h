// Random numbers: Philox 4x32-10 keyed by (seed, op): element i always gets the same draw, whatever the
// number of threads.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

struct RandomParams {
  void* y;
  int64_t numel;
  uint64_t seed, op;
  double a, b;  // uniform: [a, b); normal: mean a, deviation b; integers: [a, b) given in low, high
  int64_t low, high;
  bool fresh;  // y is a new tensor

  bool cancellable() const { return fresh; }

  double flops() const { return static_cast<double>(numel); }
  double nanoseconds() const { return static_cast<double>(numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(write_of(y, numel * size));
  }
};
struct DropoutParams {  // y = keep(i) ? x * scale : 0; the mask is drawn again in backward; dense
  void* y;
  const void* x;
  int64_t numel;
  uint64_t seed, op;
  double p;

  static constexpr bool kCancellable = true;

  double flops() const { return static_cast<double>(numel); }
  double nanoseconds() const { return static_cast<double>(numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(read_of(x, numel * size));
    f(write_of(y, numel * size));
  }
};

#define FASTNN_RANDOM(K)                                 \
  K(uniform, RandomParams, FLOATS, CPU | CUDA)           \
  K(normal, RandomParams, FLOATS, CPU | CUDA)            \
  K(random_integers, RandomParams, INTEGERS, CPU | CUDA) \
  K(dropout, DropoutParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(RandomTable, random, FASTNN_RANDOM)

}  // namespace fastnn
