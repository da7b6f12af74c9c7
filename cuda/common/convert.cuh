// Conversion between element types, with the results of the CPU's kernels to the bit.
//
// To an integer: truncated towards zero; values outside its range give the nearest end, NaN gives 0. Integer
// to integer wraps. To bool: whether it differs from 0 (NaN does). To a floating type: rounded to nearest,
// ties to even, once.
//
// float16 and bfloat16 pass through float. What does not fit a float exactly is first rounded to odd: the
// last bit of the float tells whether anything was lost, and the second rounding, at least two bits further
// up, is then right. A bool is read as the byte 0 or 1.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

template <class T>
constexpr bool is_half = dtype_of<T> == DType::bfloat16 || dtype_of<T> == DType::float16;

template <class To, class From>
__host__ __device__ inline To saturate(From x) {
  constexpr From low = sizeof(To) == 1 ? From(0) : sizeof(To) == 4 ? From(-0x1p31) : From(-0x1p63);
  constexpr From beyond = sizeof(To) == 1 ? From(0x1p8) : sizeof(To) == 4 ? From(0x1p31) : From(0x1p63);
  constexpr To top = sizeof(To) == 1 ? To(0xff) : sizeof(To) == 4 ? To(INT32_MAX) : To(INT64_MAX);
  if (x >= beyond) return top;
  if (x <= low) return static_cast<To>(low);
  return x == x ? static_cast<To>(x) : To(0);
}

// The float whose significand is that of x cut off, its last bit set if anything was cut off.
__host__ __device__ inline float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double back = nearest;
  const bool too_large = x < 0 ? back < x : back > x, lost = back < x || back > x;
  return bits_as<float>((bits_as<uint32_t>(nearest) - uint32_t(too_large)) | uint32_t(lost));
}
// Enough bits of a long integer to be a double, with the last one standing for those lost.
__host__ __device__ inline float round_to_odd(int64_t x) {
  const bool large = x >= (int64_t(1) << 50) || x <= -(int64_t(1) << 50);
  const int64_t lost = (x & 0xfff) != 0 ? 0x1000 : 0;
  return round_to_odd(static_cast<double>(large ? (x & ~int64_t(0xfff)) | lost : x));
}

__host__ __device__ inline float widen(bfloat16 x) { return bits_as<float>(uint32_t(x.bits) << 16); }
__host__ __device__ inline float widen(float16 x) {
  // The exponent is 112 too small: multiplying mends it and normalises denormals. Above it stand infinity and
  // NaN, which becomes quiet.
  const float size = bits_as<float>(uint32_t(x.bits & 0x7fff) << 13) * 0x1p112f;
  const uint32_t special = size > 65536.0f ? 0x7fc00000u : size == 65536.0f ? 0x7f800000u : 0u;
  return bits_as<float>(bits_as<uint32_t>(size) | special | (uint32_t(x.bits & 0x8000) << 16));
}
__host__ __device__ inline void narrow(float x, bfloat16* y) {
  const uint32_t u = bits_as<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16, nan = u >> 16 | 0x40;
  y->bits = static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}
__host__ __device__ inline void narrow(float x, float16* y) {
  const uint32_t u = bits_as<uint32_t>(x), size = u & 0x7fffffff;
  // Below 2^-14 the result is a denormal: a multiple of 2^-24, to which the adder rounds when 1/2 is added.
  const uint32_t denormal = bits_as<uint32_t>(bits_as<float>(size) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (size - 0x38000000u + 0xfff + ((size >> 13) & 1)) >> 13;
  const uint32_t special = size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x3ff) : 0x7c00u;
  const uint32_t finite = size < 0x38800000u ? denormal : normal;
  y->bits = static_cast<uint16_t>((size >= 0x477ff000u ? special : finite) | (u >> 16 & 0x8000));
}

template <class To, class From>
__host__ __device__ inline To convert(From x) {
  if constexpr (is_half<From>) {
    return convert<To>(widen(x));
  } else if constexpr (is_half<To>) {
    float y;
    if constexpr (dtype_of<From> == DType::float64 || dtype_of<From> == DType::int64)
      y = round_to_odd(x);
    else if constexpr (dtype_of<From> == DType::int32)
      y = round_to_odd(static_cast<double>(x));
    else
      y = static_cast<float>(x);
    To half;
    narrow(y, &half);
    return half;
  } else if constexpr (dtype_of<To> == DType::boolean) {
    return x != From(0);
  } else if constexpr (Floating<From> && !Floating<To>) {
    return saturate<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace fastnn::cuda
