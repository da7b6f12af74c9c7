// A product, and how other kernels ask for one.
#pragma once
#include "backend/context.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// C (m x n, row-major) = act(A B + bias), each element of A and B at strides of its own.
template <class T>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t rs_a, cs_a;
  const T* b;
  int64_t rs_b, cs_b;
  T* c;
  int64_t ldc;
  const T* column_bias = nullptr;  // one of the two, or neither
  const T* row_bias = nullptr;
  bool relu = false;
  bool stream = false;  // C goes past the caches where it can
  int64_t batch_a = 0, batch_b = 0, batch_c = 0;

  double fmas() const { return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  Product nth(int64_t i) const {
    Product one = *this;
    one.a += i * batch_a, one.b += i * batch_b, one.c += i * batch_c;
    return one;
  }
};

// C^T = B^T A^T, for a C of one column, whose elements lie side by side.
template <class T>
Product<T> transposed(const Product<T>& g) {
  Product<T> t = g;
  t.m = 1, t.n = g.m, t.ldc = g.m;
  t.a = g.b, t.rs_a = g.cs_b, t.cs_a = g.rs_b, t.batch_a = g.batch_b;
  t.b = g.a, t.rs_b = g.cs_a, t.cs_b = g.rs_a, t.batch_b = g.batch_a;
  t.column_bias = g.row_bias, t.row_bias = g.column_bias;
  return t;
}

// `batch` products, of which nth() tells the operands. m and n are not 0.
template <class T>
Status multiply(Context& ctx, const Product<T>& g, int64_t batch);

}  // namespace fastnn::FASTNN_ISA
