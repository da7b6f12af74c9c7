// Matrix products.
#pragma once
#include "backend/kernel.h"

namespace fastnn {

// What a product or a convolution does to its result before it is written.
enum class Activation : int { none, relu };

// C (m x n, row-major, ldc) = act(A B + bias) for each of `batch` products; element (i, p) of A is
// a[i * rs_a + p * cs_a]. One of (rs_a, cs_a) is 1, and so for B: NN, NT, TN and TT come without copies.
struct GemmParams {
  int64_t m, n, k;
  const void* a;
  int64_t rs_a, cs_a;
  const void* b;
  int64_t rs_b, cs_b;
  void* c;
  int64_t ldc;
  const void* bias;  // length n, added to every row; or null
  Activation activation;
  int64_t batch;                      // >= 0
  int64_t batch_a, batch_b, batch_c;  // distance from one product to the next; 0 shares the operand

  // Takes long and writes nothing but a new tensor, so it may be stopped half way.
  static constexpr bool kCancellable = true;

  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) *
           static_cast<double>(batch);
  }
  double nanoseconds() const { return flops() / 50; }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(matrix(a, m, k, rs_a, cs_a, batch_a, size, Access::read));
    f(matrix(b, k, n, rs_b, cs_b, batch_b, size, Access::read));
    if (bias) f(read_of(bias, n * size));
    f(matrix(c, m, n, ldc, 1, batch_c, size, Access::write));
  }

 private:
  Touch matrix(const void* data, int64_t rows, int64_t columns, int64_t rs, int64_t cs, int64_t apart,
               int64_t size, Access access) const {
    if (rows == 0 || columns == 0 || batch == 0) return {data, 0, 0, access};
    const int64_t last = (rows - 1) * rs + (columns - 1) * cs + (batch - 1) * apart;
    return {data, (last + 1) * size, rows * columns * (apart == 0 ? 1 : batch) * size, access};
  }
};

#define FASTNN_GEMM(K) K(gemm, GemmParams, FLOATS, CPU | CUDA)
FASTNN_TABLE(GemmTable, gemm, FASTNN_GEMM)

}  // namespace fastnn
