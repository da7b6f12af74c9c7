// Conversion of dense runs between element types.
//
// To an integer: truncated towards zero; values outside its range give the nearest end, NaN gives 0. Integer
// to integer wraps. To bool: whether it differs from 0 (NaN does). To a floating type: rounded to nearest,
// ties to even, once.
//
// float16 and bfloat16 pass through a run of floats. What does not fit a float exactly is first rounded to
// odd: the last bit of the float tells whether anything was lost, and the second rounding, at least two bits
// further up, is then right. The loops are plain enough for the compiler to vectorise; a conversion gives the
// same bits in a vector or alone.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class To, class From>
FASTNN_INLINE To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}

// float, double -> an integer of `bits` value bits.
template <class To, class From>
FASTNN_INLINE To saturate(From x) {
  constexpr From low = sizeof(To) == 1 ? From(0) : sizeof(To) == 4 ? From(-0x1p31) : From(-0x1p63);
  constexpr From beyond = sizeof(To) == 1 ? From(0x1p8) : sizeof(To) == 4 ? From(0x1p31) : From(0x1p63);
  constexpr To top = sizeof(To) == 1 ? To(0xff) : sizeof(To) == 4 ? To(INT32_MAX) : To(INT64_MAX);
  const bool inside = x > low && x < beyond;  // false for NaN
  const To whole = static_cast<To>(inside ? x : From(0));
  return x >= beyond ? top : x <= low ? static_cast<To>(low) : whole;
}

template <class To, class From>
FASTNN_INLINE To convert_one(From x) {
  if constexpr (dtype_of<To> == DType::boolean)
    return x != From(0);
  else if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>)
    return saturate<To>(x);
  else
    return static_cast<To>(x);
}

// The float whose significand is that of x cut off, its last bit set if anything was cut off.
FASTNN_INLINE float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double back = nearest;
  const uint32_t bits = bits_as<uint32_t>(nearest);
  const bool too_large = __builtin_fabs(back) > __builtin_fabs(x), lost = back < x || back > x;
  return bits_as<float>((bits - uint32_t(too_large)) | uint32_t(lost));
}
// Enough bits of a long integer to be a double, with the last one standing for those lost.
FASTNN_INLINE float round_to_odd(int64_t x) {
  const bool large = x >= (int64_t(1) << 50) || x <= -(int64_t(1) << 50);
  const int64_t lost = (x & 0xfff) != 0 ? 0x1000 : 0;
  return round_to_odd(static_cast<double>(large ? (x & ~int64_t(0xfff)) | lost : x));
}

template <class From>
FASTNN_INLINE float to_float_for_half(From x) {
  if constexpr (dtype_of<From> == DType::int64)
    return round_to_odd(x);
  else if constexpr (dtype_of<From> == DType::float64 || dtype_of<From> == DType::int32)
    return round_to_odd(static_cast<double>(x));
  else
    return static_cast<float>(x);
}

FASTNN_INLINE float widen_one(bfloat16 x) { return bits_as<float>(uint32_t(x.bits) << 16); }
FASTNN_INLINE float widen_one(float16 x) {
  // The exponent is 112 too small: multiplying mends it and normalises denormals. Above it stand infinity and
  // NaN.
  const float size = bits_as<float>(uint32_t(x.bits & 0x7fff) << 13) * 0x1p112f;
  const uint32_t special = size >= 65536.0f ? 0x7f800000u : 0u;
  return bits_as<float>(bits_as<uint32_t>(size) | special | (uint32_t(x.bits & 0x8000) << 16));
}
FASTNN_INLINE void narrow_one(float x, bfloat16* y) {
  const uint32_t u = bits_as<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16, nan = u >> 16 | 0x40;
  y->bits = static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}
FASTNN_INLINE void narrow_one(float x, float16* y) {
  const uint32_t u = bits_as<uint32_t>(x), size = u & 0x7fffffff;
  // Below 2^-14 the result is a denormal: a multiple of 2^-24, to which the adder rounds when 1/2 is added.
  const uint32_t denormal = bits_as<uint32_t>(bits_as<float>(size) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (size - 0x38000000u + 0xfff + ((size >> 13) & 1)) >> 13;
  const uint32_t special = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = size < 0x38800000u ? denormal : normal;
  y->bits = static_cast<uint16_t>((size >= 0x477ff000u ? special : finite) | (u >> 16 & 0x8000));
}

// ---- runs of n elements

template <class T>
constexpr bool is_half = dtype_of<T> == DType::bfloat16 || dtype_of<T> == DType::float16;

// These loops are the compiler's to vectorise, once each: a conversion of a half is made of two of them.
template <class To, class From>
FASTNN_NOINLINE void convert_plain(To* __restrict y, const From* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = convert_one<To>(x[i]);
}
template <class From>
FASTNN_NOINLINE void convert_for_half(float* __restrict y, const From* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float_for_half(x[i]);
}
#if defined(__F16C__)
// Sixteen (eight) at once; the last ones through a padded copy, so that all take the same instruction.
FASTNN_INLINE void widen_lanes(float* y, const float16* x) {
#if defined(__AVX512F__)
  _mm512_storeu_ps(y, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
#else
  _mm256_storeu_ps(y, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
#endif
}
FASTNN_INLINE void narrow_lanes(float16* y, const float* x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y),
                      _mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT));
#else
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y),
                   _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT));
#endif
}
template <class To, class From, class Lanes>
FASTNN_INLINE void convert_lanes(To* y, const From* x, int64_t n, Lanes lanes) {
  constexpr int64_t W = Vec<float>::N;
  int64_t i = 0;
  for (; i + W <= n; i += W) lanes(y + i, x + i);
  if (i == n) return;
  From in[W] = {};
  To out[W];
  memcpy(in, x + i, static_cast<size_t>(n - i) * sizeof(From));
  lanes(out, in);
  memcpy(y + i, out, static_cast<size_t>(n - i) * sizeof(To));
}
FASTNN_NOINLINE inline void widen_run(float* y, const float16* x, int64_t n) {
  convert_lanes(y, x, n, [](float* to, const float16* from) { widen_lanes(to, from); });
}
FASTNN_NOINLINE inline void narrow_run(float16* y, const float* x, int64_t n) {
  convert_lanes(y, x, n, [](float16* to, const float* from) { narrow_lanes(to, from); });
}
#endif
template <class Half>
FASTNN_NOINLINE void widen_run(float* __restrict y, const Half* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = widen_one(x[i]);
}
template <class Half>
FASTNN_NOINLINE void narrow_run(Half* __restrict y, const float* __restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) narrow_one(x[i], y + i);
}

template <class To, class From>
inline void convert_run(To* y, const From* x, int64_t n) {
  if constexpr (is_half<From> && dtype_of<To> == DType::float32) {
    widen_run(y, x, n);
  } else if constexpr (is_half<To> && dtype_of<From> == DType::float32) {
    narrow_run(y, x, n);
  } else if constexpr (!is_half<To> && !is_half<From>) {
    convert_plain(y, x, n);
  } else {
    constexpr int64_t kStretch = 512;
    alignas(64) float stretch[kStretch];
    for (int64_t at = 0; at < n; at += kStretch) {
      const int64_t count = n - at < kStretch ? n - at : kStretch;
      if constexpr (is_half<From>)
        widen_run(stretch, x + at, count);
      else
        convert_for_half(stretch, x + at, count);
      if constexpr (is_half<To>)
        narrow_run(y + at, stretch, count);
      else
        convert_plain(y + at, static_cast<const float*>(stretch), count);
    }
  }
}

}  // namespace fastnn::FASTNN_ISA
