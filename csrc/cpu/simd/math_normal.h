// erf, and what GELU needs of the normal distribution, in the manner of math.h. Largest errors, in
// units in the last place: erf 2.581 and gelu 7.506 over all floats, erf 1.75 over samples of double.
#pragma once
#include "cpu/simd/math.h"

namespace fastnn::FASTNN_ISA {

// For t >= 0: e^(-t^2 / 2), and the probability Q(t) that a standard normal variable exceeds t, as
// e^(-t^2 / 2) times their ratio r N(v) with r = 1 / (t + a) and v = (t - a) / (t + a), which maps [0,
// infinity) to [-1, 1) (Schonfelder, "Chebyshev expansions for the error and related functions", 1978).
template <class T>
struct NormalTail {
  Vec<T> density, ratio, tail;
};
// What rounding lost of t^2, exactly: at t = 13 it moves e^(-t^2 / 2) by 60 units in the last place.
template <class T>
FASTNN_INLINE Vec<T> lost_of_square(Vec<T> t, Vec<T> square) {
#if defined(__FMA__)
  return fma(t, t, -square);
#else  // halves of t multiply exactly
  constexpr Int<T> low_bits = (Int<T>(1) << (Format<T>::mantissa + 2) / 2) - 1;
  const Vec<T> high = bit_cast<T>(bit_cast<Int<T> >(t) & Vec<Int<T> >(~low_bits)), low = t - high;
  return ((high * high - square) + (high + high) * low) + low * low;
#endif
}
FASTNN_INLINE Vec<float> tail_polynomial(Vec<float> v) {
  constexpr float N[] = {0.75528513525787381f,    -0.60789657989545226f,  0.38713691645770852f,
                         -0.18652365618584355f,   0.060403489111400027f,  -0.0075240041389923292f,
                         -0.0035102073401625903f, 0.0015684085698339177f, 0.00017465257958556002f,
                         -0.0001342004243799997f};
  return polynomial(v, N);
}
FASTNN_INLINE Vec<double> tail_polynomial(Vec<double> v) {
  constexpr double N[] = {
      0.76919304975006296,     -0.6653825028900566,    0.495305615969977,      -0.31353315667131572,
      0.16502036617036168,     -0.0691186387059525,    0.020795066800239867,   -0.0029933767756890682,
      -0.00079786940145609849, 0.00054489910582303339, -5.9375711414232129e-5, -4.9763010072104413e-5,
      1.6681145292061249e-5,   3.9814909017066242e-6,  -2.7690562041509949e-6, -3.3774280726964558e-7,
      4.3268777362480397e-7,   4.3612343572198397e-8,  -6.5320846605894595e-8, -1.0211151008971705e-8,
      7.1823003086579976e-9,   2.0140623286050385e-9};
  return polynomial(v, N);
}
template <class T>
FASTNN_INLINE NormalTail<T> normal_tail(Vec<T> t) {
  constexpr T a = sizeof(T) == 4 ? 4 : 5, last = sizeof(T) == 4 ? 15 : 39;  // beyond `last` both are 0
  const Vec<T> one(T(1)), half(T(0.5)), inside = min(Vec<T>(last), t);
  const Vec<T> r = one / (inside + Vec<T>(a)), v = fma(Vec<T>(-2 * a), r, one);
  const Vec<T> square = inside * inside, lost = lost_of_square(inside, square);
  const Reduced<T> reduced = reduce_exp(-half * square);
  const Vec<T> m = expm1_reduced(reduced.r, reduced.tail), more = -half * lost;
  const Vec<T> e = scale_by_power(one + fma(more, one + m, m), reduced.n);  // times 1 + more
  const Vec<T> ratio = r * tail_polynomial(v);
  return {e, ratio, e * ratio};
}

// erf(x) = x S(x^2) for |x| < 1.
FASTNN_INLINE Vec<float> erf_small(Vec<float> x) {
  constexpr float S[] = {1.1283791657295594f,    -0.37612625837465104f,  0.11283585248605635f,
                         -0.026853814582072517f, 0.0051883304825924878f, -0.00080102026992725068f,
                         7.8538498284294089e-5f};
  return x * polynomial(x * x, S);
}
FASTNN_INLINE Vec<double> erf_small(Vec<double> x) {
  constexpr double S[] = {1.1283791670955126,     -0.3761263890318352,    0.112837916709442,
                          -0.026866170643113414,  0.0052239776061308422,  -0.00085483259297662443,
                          0.0001205529358693695,  -1.4924712439534814e-5, 1.6447132699786621e-6,
                          -1.6206318752969209e-7, 1.3710988704190523e-8,  -7.7794629717615969e-10};
  return x * polynomial(x * x, S);
}
template <class T>
FASTNN_INLINE Vec<T> erf(Vec<T> x) {
  const Vec<T> size = abs(x), one(T(1)), root_two(static_cast<T>(1.4142135623730951));
  const Vec<T> large = one - Vec<T>(T(2)) * normal_tail(size * root_two).tail;
  return select(size < one, erf_small(x), with_sign(large, sign_bit(x)));
}

// x P(X <= x) of a standard normal variable X; both tails keep their relative accuracy.
template <class T>
FASTNN_INLINE Vec<T> normal_below(Vec<T> x, Vec<T> tail) {
  return select(x < Vec<T>(T(0)), tail, Vec<T>(T(1)) - tail);
}
template <class T>
FASTNN_INLINE Vec<T> gelu(Vec<T> x) {
  const NormalTail<T> n = normal_tail(abs(x));
  // x ratio first: the tail may be denormal where x times it is not
  return select(x < Vec<T>(T(0)), x * n.ratio * n.density, x * (Vec<T>(T(1)) - n.tail));
}
template <class T>
FASTNN_INLINE Vec<T> gelu_derivative(Vec<T> x) {
  const NormalTail<T> n = normal_tail(abs(x));
  return fma(x * Vec<T>(static_cast<T>(0.3989422804014327)), n.density, normal_below(x, n.tail));
}

// The same with P approximated by (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
// (Hendrycks and Gimpel, "Gaussian error linear units", 2016).
template <class T>
FASTNN_INLINE Vec<T> gelu_tanh(Vec<T> x) {
  const Vec<T> slope(static_cast<T>(1.5957691216057308)), cubic(static_cast<T>(0.07135481627260025));
  return x * sigmoid(x * fma(x * x, cubic, slope));
}
template <class T>
FASTNN_INLINE Vec<T> gelu_tanh_derivative(Vec<T> x) {
  const Vec<T> slope(static_cast<T>(1.5957691216057308)), cubic(static_cast<T>(0.07135481627260025));
  const Vec<T> bounded = max(Vec<T>(T(-64)), min(Vec<T>(T(64)), x));  // beyond it is 0 or 1
  const Vec<T> square = bounded * bounded, s = sigmoid(bounded * fma(square, cubic, slope));
  const Vec<T> inner = bounded * fma(square, Vec<T>(T(3)) * cubic, slope);
  return fma(s * (Vec<T>(T(1)) - s), inner, s);
}

}  // namespace fastnn::FASTNN_ISA
