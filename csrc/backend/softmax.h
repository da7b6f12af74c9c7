// Softmax and cross-entropy.
#pragma once
#include "backend/bad_index.h"
#include "backend/kernel.h"

namespace fastnn {

struct SoftmaxParams {  // over `size` elements, `inner` apart, for each of outer * inner rows; dense
  static constexpr bool kCancellable = true;

  int64_t outer, size, inner;
  void* y;
  const void* x;   // forward
  const void* dy;  // backward: y is dx, x is the forward's output

  double flops() const { return (dy ? 4.0 : 5.0) * elements(); }
  double nanoseconds() const { return elements(); }
  template <class F>
  void touches(int64_t bytes, F&& f) const {
    const int64_t all = outer * size * inner * bytes;
    f(read_of(x, all));
    if (dy) f(read_of(dy, all));
    f(write_of(y, all));
  }

 private:
  double elements() const { return static_cast<double>(outer * size * inner); }
};
// Rows x classes, row-major. A row whose label is ignored, or is none, has no loss and no gradient.
struct CrossEntropyParams {
  static constexpr bool kChecksIndices = true, kCancellable = true;

  int64_t rows, classes;
  const void* logits;
  const int64_t* labels;
  IndexRule rule;
  void* log_sum_exp;  // forward: written; backward: read; rows pairs {m, s}, log sum e^x = m + s (apart, for
                      // large logits)
  bool mean;          // over the rows that count
  int64_t* counted;   // how many they are; forward: written with `total`; backward: read for the mean

  // forward
  void* loss;   // of each row
  void* total;  // null, or where the sum of all goes, or the mean; then `loss` is for the kernel to use up

  // backward
  const void* dloss;     // gradient of each row's loss, dloss_stride apart; null: 1
  int64_t dloss_stride;  // 0: one for all rows, the gradient of `total`
  void* dlogits;         // written whole

  double flops() const { return 4.0 * nanoseconds(); }
  double nanoseconds() const { return static_cast<double>(rows * classes); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(read_of(logits, rows * classes * size));
    f(read_of(labels, rows * static_cast<int64_t>(sizeof(int64_t))));
    f(dense(log_sum_exp, 2 * rows * size, dlogits ? Access::read : Access::write));
    if (dlogits) {
      f(read_of(dloss, dloss_stride ? rows * size : size));
      f(write_of(dlogits, rows * classes * size));
      if (mean) f(read_of(counted, sizeof(int64_t)));
    } else {
      f(dense(loss, rows * size, total ? Access::update : Access::write));
      if (total) f(write_of(total, size)), f(write_of(counted, sizeof(int64_t)));
    }
  }
};

#define FASTNN_SOFTMAX(K)                                    \
  K(softmax, SoftmaxParams, FLOATS, CPU | CUDA)              \
  K(softmax_backward, SoftmaxParams, FLOATS, CPU | CUDA)     \
  K(log_softmax, SoftmaxParams, FLOATS, CPU | CUDA)          \
  K(log_softmax_backward, SoftmaxParams, FLOATS, CPU | CUDA) \
  K(cross_entropy, CrossEntropyParams, FLOATS, CPU | CUDA)   \
  K(cross_entropy_backward, CrossEntropyParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(SoftmaxTable, softmax, FASTNN_SOFTMAX)

}  // namespace fastnn
