// Elementary functions of vectors of float and double, right for NaN, infinities, signed zeros and denormals.
//
// Largest errors, in units in the last place, without fused multiply-add (the baseline has none) where that
// is worse; of float's functions of one argument over all floats (tests/test_every_float.py), of the others
// over samples:
//   float    exp 0.921  log 0.822  sigmoid 1.967  tanh 2.610  pow 0.51
//   double   exp 0.83  log 0.81  sigmoid 1.9  tanh 2.3  pow 0.87
//
// The polynomials are minimax fits of this project (Remez exchange in 50 digits); each states its interval.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int mantissa = 23;
  static constexpr int32_t bias = 127, mantissa_mask = 0x7fffff, sign = INT32_MIN;
  static constexpr int32_t sqrt_half = 0x3f3504f3;  // bits of sqrt(1/2)
  static constexpr float smallest_normal = 0x1p-126f;
  static constexpr float ln2_hi = 0x1.62e4p-1f, ln2_lo = 0x1.7f7d1cp-20f;  // n * ln2_hi is exact
  static constexpr float log2_e = 0x1.715476p0f;
  static constexpr float exp_min = -104.0f, exp_max = 89.0f;  // beyond: 0 and infinity
};
template <>
struct Format<double> {
  static constexpr int mantissa = 52;
  static constexpr int64_t bias = 1023, mantissa_mask = 0xfffffffffffff, sign = INT64_MIN;
  static constexpr int64_t sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double smallest_normal = 0x1p-1022;
  static constexpr double ln2_hi = 0x1.62e42fefp-1, ln2_lo = 0x1.473de6af278edp-34;
  static constexpr double log2_e = 0x1.71547652b82fep0;
  static constexpr double exp_min = -746.0, exp_max = 710.0;
};

template <class T>
FASTNN_INLINE Vec<T> infinity() {
  return Vec<T>(static_cast<T>(__builtin_inff()));
}
template <class T>
FASTNN_INLINE Vec<T> quiet_nan() {
  return Vec<T>(static_cast<T>(__builtin_nanf("")));
}
template <class T>
FASTNN_INLINE Vec<T> sign_bit(Vec<T> x) {
  return bit_cast<T>(bit_cast<Int<T>>(x) & Vec<Int<T>>(Format<T>::sign));
}
// The magnitude of a non-negative x with the sign of y.
template <class T>
FASTNN_INLINE Vec<T> with_sign(Vec<T> x, Vec<T> sign) {
  return bit_cast<T>(bit_cast<Int<T>>(x) | bit_cast<Int<T>>(sign));
}

// Whole numbers below 2^51 as integers of T's size and back. For doubles the adder does it: few instruction
// sets convert.
FASTNN_INLINE Vec<int32_t> convert_small(Vec<float> n) { return convert<int32_t>(n); }
FASTNN_INLINE Vec<float> convert_small(Vec<int32_t> n) { return convert<float>(n); }
FASTNN_INLINE Vec<int64_t> convert_small(Vec<double> n) {
  const Vec<double> magic(0x1.8p52);
  return bit_cast<int64_t>(n + magic) - bit_cast<int64_t>(magic);
}
FASTNN_INLINE Vec<double> convert_small(Vec<int64_t> n) {
  const Vec<double> magic(0x1.8p52);
  return bit_cast<double>(n + bit_cast<int64_t>(magic)) - magic;
}

// c[0] + c[1] x + ... by Horner's rule.
template <class T, int n>
FASTNN_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[n]) {
  Vec<T> y(c[n - 1]);
#pragma GCC unroll 16
  for (int i = n - 2; i >= 0; --i) y = fma(y, x, Vec<T>(c[i]));
  return y;
}

// 2^n for integers n that give a normal number.
template <class T>
FASTNN_INLINE Vec<T> power_of_two(Vec<Int<T>> n) {
  return bit_cast<T>((n + Vec<Int<T>>(Format<T>::bias)) << Format<T>::mantissa);
}
// x 2^n, rounded once, where the result may leave the normal range: the first factor is exact.
template <class T>
FASTNN_INLINE Vec<T> scale_by_power(Vec<T> x, Vec<T> n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>((typename Vec<T>::Native)_mm512_scalef_ps((__m512)x.v, (__m512)n.v));
  else
    return Vec<T>((typename Vec<T>::Native)_mm512_scalef_pd((__m512d)x.v, (__m512d)n.v));
#else
  const Vec<Int<T>> whole = convert_small(n), half = whole >> 1;
  return x * power_of_two<T>(half) * power_of_two<T>(whole - half);
#endif
}

// e^r - 1 for |r| <= ln(2) / 2: r + r^2 q(r).
FASTNN_INLINE Vec<float> expm1_reduced(Vec<float> r, Vec<float> tail) {
  constexpr float q[] = {0.5f, 0.166665181517601f, 0.04166620224714279f, 0.008369024842977524f,
                         0.001395078026689589f};
  return r + fma(r * r, polynomial(r, q), tail);
}
FASTNN_INLINE Vec<double> expm1_reduced(Vec<double> r, Vec<double> tail) {
  constexpr double q[] = {0.5,
                          0.16666666666666685,
                          0.04166666666666673,
                          0.008333333333316484,
                          0.0013888888888858193,
                          0.00019841269897699705,
                          2.4801587374205147e-05,
                          2.755723358716188e-06,
                          2.755723297414158e-07,
                          2.5112469293648562e-08,
                          2.0927060410786365e-09};
  return r + fma(r * r, polynomial(r, q), tail);
}

// x = n ln(2) + r + tail with |r| <= ln(2) / 2 and n whole.
template <class T>
struct Reduced {
  Vec<T> n, r, tail;
};
template <class T>
FASTNN_INLINE Reduced<T> reduce_exp(Vec<T> x) {
  const Vec<T> n = round(x * Vec<T>(Format<T>::log2_e));
  const Vec<T> hi = fma(n, Vec<T>(-Format<T>::ln2_hi), x), lo = n * Vec<T>(Format<T>::ln2_lo);
  const Vec<T> r = hi - lo;
  return {n, r, (hi - r) - lo};
}

template <class T>
FASTNN_INLINE Vec<T> exp(Vec<T> x) {
  x = max(Vec<T>(Format<T>::exp_min), min(Vec<T>(Format<T>::exp_max), x));
  const Reduced<T> reduced = reduce_exp(x);
  return scale_by_power(Vec<T>(T(1)) + expm1_reduced(reduced.r, reduced.tail), reduced.n);
}

// y = 1 / (1 + e^-x), written in e = e^-|x| so that neither end overflows. e may do without the tail of its
// reduced argument, for what is lost in rounding 1 + e is put back: y (1 - lost / (1 + e)).
template <class T>
FASTNN_INLINE Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> zero(T(0)), one(T(1)), size = max(Vec<T>(Format<T>::exp_min), -abs(x));  // NaN stays NaN
  const Vec<T> n = round(size * Vec<T>(Format<T>::log2_e));
  const Vec<T> hi = fma(n, Vec<T>(-Format<T>::ln2_hi), size), r = fma(n, Vec<T>(-Format<T>::ln2_lo), hi);
  const Vec<T> e = scale_by_power(one + expm1_reduced(r, zero), n), sum = one + e, lost = (one - sum) + e;
  const Mask<T> negative = x < zero;
  const Vec<T> y = select(negative, e, one) / sum, inverse = select(negative, one - y, y);
  return fma(y * inverse, -lost, y);
}

// (e^2|x| - 1) / (e^2|x| + 1) with e^2|x| - 1 = 2^n (e^r - 1) + (2^n - 1), which keeps the relative accuracy
// near 0.
template <class T>
FASTNN_INLINE Vec<T> tanh(Vec<T> x) {
  constexpr T saturated = sizeof(T) == 4 ? 10 : 20;
  const Vec<T> size = min(Vec<T>(saturated), abs(x)), one(T(1));
  const Reduced<T> reduced = reduce_exp(size + size);
  const Vec<T> power = power_of_two<T>(convert_small(reduced.n));
  const Vec<T> m = fma(power, expm1_reduced(reduced.r, reduced.tail), power - one);
  return with_sign(m / (m + Vec<T>(T(2))), sign_bit(x));
}

// x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), for positive normal x. Of others the result is not
// used, but the difference must be free to wrap.
template <class T>
struct Split {
  Vec<T> e, f;
};
template <class T>
FASTNN_INLINE Split<T> split_log(Vec<T> x) {
  using I = Int<T>;
  using U = Unsigned<T>;
  const Vec<I> above = bit_cast<I>(bit_cast<U>(x) - Vec<U>(static_cast<U>(Format<T>::sqrt_half)));
  const Vec<I> m = (above & Vec<I>(Format<T>::mantissa_mask)) + Vec<I>(Format<T>::sqrt_half);
  return {convert_small(above >> Format<T>::mantissa), bit_cast<T>(m) - Vec<T>(T(1))};
}
// The same for denormal x too.
template <class T>
FASTNN_INLINE Split<T> split_log_any(Vec<T> x) {
  constexpr int up = Format<T>::mantissa;
  const Mask<T> tiny = x < Vec<T>(Format<T>::smallest_normal);
  Split<T> s = split_log(select(tiny, x * Vec<T>(static_cast<T>(int64_t(1) << up)), x));
  s.e = s.e - select(tiny, Vec<T>(T(up)), Vec<T>(T(0)));
  return s;
}

// log(1 + f) = f - f^2 / 2 + f^3 P(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
FASTNN_INLINE Vec<float> log_of_split(Split<float> s) {
  constexpr float P[] = {0.3333331048488617f,   -0.24999986588954926f, 0.20002241432666779f,
                         -0.16669271886348724f, 0.14218342304229736f,  -0.12383785843849182f,
                         0.11874955892562866f,  -0.11794132739305496f, 0.06915902346372604f};
  const Vec<float> f2 = s.f * s.f;
  Vec<float> rest = f2 * s.f * polynomial(s.f, P);
  rest = fma(s.e, Vec<float>(Format<float>::ln2_lo), rest);
  rest = fma(Vec<float>(-0.5f), f2, rest);
  return fma(s.e, Vec<float>(Format<float>::ln2_hi), s.f + rest);
}
// With s = f / (2 + f) and z = s^2: log(1 + f) = 2 s + s z R(z) = f - (f^2 / 2 - s (f^2 / 2 + z R(z))), z <=
// 0.0295.
FASTNN_INLINE Vec<double> log_of_split(Split<double> split) {
  constexpr double R[] = {0.6666666666666735,  0.3999999999940751, 0.28571428744135824, 0.22222198379137786,
                          0.18183575127735857, 0.1531375679205199, 0.14799055260792573};
  using V = Vec<double>;
  const V f = split.f, s = f / (f + V(2.0)), z = s * s, half_f2 = V(0.5) * f * f;
  const V rest = fma(s, half_f2 + z * polynomial(z, R), split.e * V(Format<double>::ln2_lo));
  return fma(split.e, V(Format<double>::ln2_hi), f - (half_f2 - rest));
}
template <class T>
FASTNN_INLINE Vec<T> log(Vec<T> x) {
  const Vec<T> zero(T(0));
  const Vec<T> y = log_of_split(split_log_any(x));
  const Vec<T> special =
      select(x == zero, -infinity<T>(), select(x > zero, x, quiet_nan<T>()));  // inf stays inf
  return select((x > zero) & (x < infinity<T>()), y, special);
}

// With u = 1 + x rounded and u = 2^e (1 + f): where e is 0, 1 + f is meant to be 1 + x, so x stands in for f;
// elsewhere what rounding lost of u is put back.
template <class T>
FASTNN_INLINE Vec<T> log1p(Vec<T> x) {
  const Vec<T> zero(T(0)), one(T(1)), u = one + x;
  const Vec<T> lost = select(x > one, one - (u - x), x - (u - one));
  const Split<T> split = split_log(u);
  const Vec<T> f = select(split.e == zero, x, fma(lost / u, one + split.f, split.f));
  const Vec<T> y = log_of_split(Split<T>{split.e, f});
  const Vec<T> special =
      select(x == -one, -infinity<T>(), select(x > -one, x, quiet_nan<T>()));  // inf stays inf
  return select(x == zero, x, select((x > -one) & (x < infinity<T>()), y, special));
}

// The lower and upper half of a vector of floats as doubles, and the way back.
typedef float HalfOfFloats __attribute__((vector_size(kVectorBytes / 2)));
FASTNN_INLINE Vec<double> widen_half(Vec<float> x, int half) {
  HalfOfFloats h;
  memcpy(&h, reinterpret_cast<const char*>(&x.v) + half * (kVectorBytes / 2), sizeof h);
  return Vec<double>(__builtin_convertvector(h, Vec<double>::Native));
}
FASTNN_INLINE Vec<float> narrow(Vec<double> low, Vec<double> high) {
  const HalfOfFloats halves[2] = {__builtin_convertvector(low.v, HalfOfFloats),
                                  __builtin_convertvector(high.v, HalfOfFloats)};
  Vec<float> x;
  memcpy(&x.v, halves, sizeof x.v);
  return x;
}

// ---- pow

// From |x|^y to x^y by the rules of C's pow; `power` may be anything where a rule below decides.
template <class T>
FASTNN_INLINE Vec<T> pow_specials(Vec<T> x, Vec<T> y, Vec<T> power) {
  const Vec<T> zero(T(0)), one(T(1)), size = abs(x), inf = infinity<T>();
  const Mask<T> whole = round(y) == y;
  const Mask<T> odd = whole & (round(y * Vec<T>(T(0.5))) != y * Vec<T>(T(0.5)));
  power = select((size == zero) | (size == inf), select((size == zero) == (y < zero), inf, zero), power);
  power = select((x != x) | (y != y), x + y, power);
  const Mask<T> endless = abs(y) == inf;
  power = select(endless & (size == size), select((size < one) == (y < zero), inf, zero), power);
  power = select(endless & (size == one), one, power);
  power = select((x < zero) & (size < inf) & ~whole, quiet_nan<T>(), power);
  power = bit_cast<T>(bit_cast<Int<T>>(power) ^ (bit_cast<Int<T>>(sign_bit(x)) & odd));
  return select((y == zero) | (x == one), one, power);
}

// x^y = 2^(y log2(x)) in double for normal x > 0 that are floats: a relative error of 1e-9 before rounding to
// float.
FASTNN_INLINE Vec<double> pow_of_float(Vec<double> x, Vec<double> y) {
  constexpr double L[] = {2.885390081790265, 0.9617966731150173, 0.5770836288428018, 0.411670043992653,
                          0.34078045892751263};  // log2(1 + f) = s L(s^2) with s = f / (2 + f)
  constexpr double E[] = {0.9999999999594898,     0.6931471805349353,    0.24022651214180019,
                          0.055504109764635184,   0.00961802552431926,   0.0013333422326460105,
                          0.00015469757370008798, 1.5316539066712655e-05};
  using V = Vec<double>;
  const Split<double> split = split_log(x);
  const V s = split.f / (split.f + V(2.0));
  const V log2 = fma(s, polynomial(s * s, L), split.e);
  const V t = max(V(-200.0), min(V(200.0), y * log2)), n = round(t);
  return polynomial(t - n, E) * power_of_two<double>(convert_small(n));  // 2^(t - n) by E on [-1/2, 1/2]
}
FASTNN_NOINLINE inline Vec<float> pow_any(Vec<float> x, Vec<float> y) {
  const Vec<float> size = abs(x);
  const Vec<double> low = pow_of_float(widen_half(size, 0), widen_half(y, 0));
  const Vec<double> high = pow_of_float(widen_half(size, 1), widen_half(y, 1));
  return pow_specials(x, y, narrow(low, high));
}

// A sum hi + lo of which hi is the rounded value.
struct Pair {
  Vec<double> hi, lo;
};
FASTNN_INLINE Pair exact_sum(Vec<double> a, Vec<double> b) {  // |a| >= |b|
  const Vec<double> hi = a + b;
  return {hi, b - (hi - a)};
}
FASTNN_INLINE Pair exact_product(Vec<double> a, Vec<double> b) {
  const Vec<double> hi = a * b;
#if defined(__FMA__)
  return {hi, fma(a, b, -hi)};
#else  // Dekker: halves of 26 bits multiply exactly
  const Vec<double> splitter(134217729.0), ta = a * splitter, tb = b * splitter;
  const Vec<double> ah = ta - (ta - a), al = a - ah, bh = tb - (tb - b), bl = b - bh;
  return {hi, ((ah * bh - hi) + ah * bl + al * bh) + al * bl};
#endif
}

// log(x) to about 65 bits. With s = f / (2 + f): log(1 + f) = 2 s + s^3 (2/3 + s^2 Q(s^2)), the first two
// terms in pairs.
FASTNN_INLINE Pair log_pair(Vec<double> x) {
  constexpr double Q[] = {0.39999999999999974, 0.28571428571445334, 0.2222222221748215, 0.18181818876989292,
                          0.1538455641497751,  0.13336334987987952, 0.116744613791051,  0.11991991432998186};
  using V = Vec<double>;
  const Split<double> split = split_log_any(x);
  const V f = split.f, t = f + V(2.0), t_lo = f - (t - V(2.0));
  const V s = f / t;
  const Pair st = exact_product(s, t);
  const V s_lo = ((f - st.hi) - st.lo - s * t_lo) / t;
  const Pair z = exact_product(s, s);
  const V z_lo = fma(V(2.0) * s, s_lo, z.lo);
  const Pair u = exact_sum(V(0.6666666666666666), z.hi * polynomial(z.hi, Q));
  const V u_lo = u.lo + V(3.700743415417188e-17);
  const Pair s3 = exact_product(s, z.hi);
  const V s3_lo = fma(s, z_lo, fma(s_lo, z.hi, s3.lo));
  const Pair cubic = exact_product(s3.hi, u.hi);
  const V cubic_lo = fma(s3.hi, u_lo, fma(s3_lo, u.hi, cubic.lo));
  const Pair power = exact_sum(split.e * V(Format<double>::ln2_hi), V(2.0) * s);  // e = 0: exact either way
  const Pair ordered = exact_sum(power.hi, cubic.hi);
  const V lo = fma(split.e, V(Format<double>::ln2_lo), ordered.lo + power.lo + V(2.0) * s_lo + cubic_lo);
  return exact_sum(ordered.hi, lo);
}
// e^(x + tail), |tail| up to the rounding error of x.
FASTNN_INLINE Vec<double> exp_with_tail(Vec<double> x, Vec<double> tail) {
  const Vec<double> inside =
      max(Vec<double>(Format<double>::exp_min), min(Vec<double>(Format<double>::exp_max), x));
  const Reduced<double> reduced = reduce_exp(inside);
  const Pair r = exact_sum(reduced.r, reduced.tail + select(inside == x, tail, Vec<double>(0.0)));
  return scale_by_power(Vec<double>(1.0) + expm1_reduced(r.hi, r.lo), reduced.n);
}
FASTNN_NOINLINE inline Vec<double> pow_any(Vec<double> x, Vec<double> y) {
  using V = Vec<double>;
  const V bounded = max(V(-0x1p100), min(V(0x1p100), y));  // beyond, 0 or infinity is certain
  const Pair log_x = log_pair(abs(x)), t = exact_product(bounded, log_x.hi);
  return pow_specials(x, y, exp_with_tail(t.hi, fma(bounded, log_x.lo, t.lo)));
}

// x^3 to about half an ulp: what the square lost by rounding, times x, is added, but to infinity.
FASTNN_INLINE Vec<double> cube(Vec<double> x) {
  const Pair square = exact_product(x, x);
  const Vec<double> rounded = square.hi * x;
  return select(abs(rounded) < infinity<double>(), fma(square.hi, x, square.lo * x), rounded);
}
FASTNN_INLINE Vec<float> cube(Vec<float> x) {
#if defined(__FMA__)
  const Vec<float> square = x * x, lost = fma(x, x, -square), rounded = square * x;
  return select(abs(rounded) < infinity<float>(), fma(square, x, lost * x), rounded);
#else
  const Vec<double> low = widen_half(x, 0), high = widen_half(x, 1);
  return narrow(low * low * low, high * high * high);
#endif
}

// x^y. Squares and cubes are products, whatever the lanes beside them ask for, so that the bits of an element
// are its own.
template <class T>
FASTNN_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  const Mask<T> is_square = y == Vec<T>(T(2)), is_cube = y == Vec<T>(T(3));
  const Vec<T> product = select(is_square, x * x, cube(x));
  if (!any(~(is_square | is_cube))) return product;
  return select(is_square | is_cube, product, pow_any(x, y));
}

}  // namespace fastnn::FASTNN_ISA
