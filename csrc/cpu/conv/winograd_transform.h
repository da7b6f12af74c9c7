// Winograd's minimal filtering F(m, 3): m outputs of a filter of 3 taps from m + 2 inputs with m + 2
// multiplications instead of 3 m (S. Winograd, Arithmetic Complexity of Computations, 1980; for convolution
// A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016).
//
//     y = A' [(G g) * (B' d)]        and by transposition        dg = G' [(B' d) * (A dy)]
//
// The matrices evaluate polynomials at m + 1 points and at infinity: 0, +-1 for F(2, 3), 0, +-3/4, +-3/2 for
// F(4, 3). The usual +-1, +-2 need no more operations and lose twice as many bits; of B, A and the points
// every element is exact in float32. Along both dimensions of an image the transforms follow each other.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class T, int m>
struct Winograd;

template <class T>
struct Winograd<T, 2> {
  using V = Vec<T>;
  static FASTNN_INLINE void input(const V (&d)[4], V (&v)[4]) {  // B'
    v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
  }
  static FASTNN_INLINE void filter(const V (&g)[3], V (&u)[4]) {  // G
    const V half(T(0.5)), even = g[0] + g[2];
    u[0] = g[0], u[1] = (even + g[1]) * half, u[2] = (even - g[1]) * half, u[3] = g[2];
  }
  static FASTNN_INLINE void output(const V (&p)[4], V (&y)[2]) {  // A'
    y[0] = p[0] + p[1] + p[2], y[1] = p[1] - p[2] - p[3];
  }
  static FASTNN_INLINE void grad_output(const V (&dy)[2], V (&v)[4]) {  // A
    v[0] = dy[0], v[1] = dy[0] + dy[1], v[2] = dy[0] - dy[1], v[3] = -dy[1];
  }
  static FASTNN_INLINE void grad_filter(const V (&p)[4], V (&dg)[3]) {  // G'
    const V half(T(0.5)), even = (p[1] + p[2]) * half;
    dg[0] = p[0] + even, dg[1] = (p[1] - p[2]) * half, dg[2] = p[3] + even;
  }
};

template <class T>
struct Winograd<T, 4> {
  using V = Vec<T>;
  static constexpr double a = 0.75, b = 1.5, a2 = a * a, b2 = b * b;  // the points +-a, +-b
  // Of the points 0, +-a, +-b: one over the product of differences to the other points.
  static constexpr double scale_0 = 1 / (a2 * b2), scale_a = 1 / (2 * a2 * (a2 - b2)),
                          scale_b = 1 / (2 * b2 * (b2 - a2));

  static FASTNN_INLINE V times(double c, V x, V sum) { return fma(V(T(c)), x, sum); }
  static FASTNN_INLINE V times(double c, V x) { return V(T(c)) * x; }

  static FASTNN_INLINE void input(const V (&d)[6], V (&v)[6]) {
    v[0] = times(a2 * b2, d[0], times(-(a2 + b2), d[2], d[4]));
    const V even_a = times(-b2, d[2], d[4]), odd_a = times(-b2, d[1], d[3]);
    v[1] = times(a, odd_a, even_a), v[2] = times(-a, odd_a, even_a);
    const V even_b = times(-a2, d[2], d[4]), odd_b = times(-a2, d[1], d[3]);
    v[3] = times(b, odd_b, even_b), v[4] = times(-b, odd_b, even_b);
    v[5] = times(a2 * b2, d[1], times(-(a2 + b2), d[3], d[5]));
  }
  static FASTNN_INLINE void filter(const V (&g)[3], V (&u)[6]) {
    const V even_a = times(a2, g[2], g[0]), even_b = times(b2, g[2], g[0]);
    u[0] = times(scale_0, g[0]);
    u[1] = times(scale_a, times(a, g[1], even_a)), u[2] = times(scale_a, times(-a, g[1], even_a));
    u[3] = times(scale_b, times(b, g[1], even_b)), u[4] = times(scale_b, times(-b, g[1], even_b));
    u[5] = g[2];
  }
  static FASTNN_INLINE void output(const V (&p)[6], V (&y)[4]) {
    const V even_a = p[1] + p[2], odd_a = p[1] - p[2], even_b = p[3] + p[4], odd_b = p[3] - p[4];
    y[0] = p[0] + even_a + even_b;
    y[1] = times(a, odd_a, times(b, odd_b));
    y[2] = times(a2, even_a, times(b2, even_b));
    y[3] = times(a * a2, odd_a, times(b * b2, odd_b, p[5]));
  }
  static FASTNN_INLINE void grad_output(const V (&dy)[4], V (&v)[6]) {
    const V even_a = times(a2, dy[2], dy[0]), odd_a = times(a2, dy[3], dy[1]);
    const V even_b = times(b2, dy[2], dy[0]), odd_b = times(b2, dy[3], dy[1]);
    v[0] = dy[0];
    v[1] = times(a, odd_a, even_a), v[2] = times(-a, odd_a, even_a);
    v[3] = times(b, odd_b, even_b), v[4] = times(-b, odd_b, even_b);
    v[5] = dy[3];
  }
  static FASTNN_INLINE void grad_filter(const V (&p)[6], V (&dg)[3]) {
    const V even_a = times(scale_a, p[1] + p[2]), odd_a = times(scale_a * a, p[1] - p[2]);
    const V even_b = times(scale_b, p[3] + p[4]), odd_b = times(scale_b * b, p[3] - p[4]);
    dg[0] = times(scale_0, p[0], even_a + even_b);
    dg[1] = odd_a + odd_b;
    dg[2] = times(a2, even_a, times(b2, even_b, p[5]));
  }
};

// A transform of `from` elements to `to`, along the rows and then the columns of a square: load(i, j) gives
// the vectors, store(i, j, vector) takes those of the result.
template <class T, int from, int to, void (*transform)(const Vec<T> (&)[from], Vec<T> (&)[to]), class Load,
          class Store>
FASTNN_INLINE void transform_square(Load load, Store store) {
  Vec<T> columns[to][from];
#pragma GCC unroll 8
  for (int i = 0; i < from; ++i) {
    Vec<T> x[from], y[to];
#pragma GCC unroll 8
    for (int j = 0; j < from; ++j) x[j] = load(i, j);
    transform(x, y);
#pragma GCC unroll 8
    for (int j = 0; j < to; ++j) columns[j][i] = y[j];
  }
#pragma GCC unroll 8
  for (int j = 0; j < to; ++j) {
    Vec<T> y[to];
    transform(columns[j], y);
#pragma GCC unroll 8
    for (int i = 0; i < to; ++i) store(i, j, y[i]);
  }
}

}  // namespace fastnn::FASTNN_ISA
