// One vector type for every instruction set: Vec<T> holds as many T as a register of the set this file is
// compiled for (64 bytes with AVX-512, 32 with AVX2, 16 elsewhere). Kernels are written once against it and
// compiled once per set.
//
// Built on the compilers' vector extensions, so + - * / & | ^ ~ << >> and comparisons need no intrinsics; the
// rest (fused multiply-add, masks for tails, square roots) is spelled out below. Files that include this are
// compiled with -ffp-contract=off: a multiply-add is fused exactly where fma() is written.
#pragma once
#include <stdint.h>
#include <string.h>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backend/dtype.h"

#ifndef FASTNN_ISA  // the namespace of this build of the kernels: avx512, avx2, baseline
#error "csrc/cpu is compiled once per instruction set; CMake sets FASTNN_ISA"
#endif

namespace fastnn::FASTNN_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#else
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 16;
#endif

#define FASTNN_INLINE inline __attribute__((always_inline))
#define FASTNN_NOINLINE __attribute__((noinline))

template <class T>
struct int_of;  // the signed integer of T's size: what comparisons yield
template <>
struct int_of<float> {
  using type = int32_t;
};
template <>
struct int_of<double> {
  using type = int64_t;
};
template <>
struct int_of<int32_t> {
  using type = int32_t;
};
template <>
struct int_of<int64_t> {
  using type = int64_t;
};
template <>
struct int_of<uint32_t> {
  using type = int32_t;
};
template <>
struct int_of<uint64_t> {
  using type = int64_t;
};
template <>
struct int_of<uint8_t> {
  using type = int8_t;
};
template <>
struct int_of<int8_t> {
  using type = int8_t;
};
template <class T>
using Int = typename int_of<T>::type;
template <class T>
using Unsigned = std::make_unsigned_t<Int<T>>;

// The compiler's vectors of each T (gcc drops the attribute from dependent types, so they are listed).
template <class T>
struct native;
#define FASTNN_NATIVE(T)                                                                           \
  template <>                                                                                      \
  struct native<T> {                                                                               \
    typedef T type __attribute__((vector_size(kVectorBytes)));                                     \
    typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias)); \
  };
FASTNN_NATIVE(float)
FASTNN_NATIVE(double)
FASTNN_NATIVE(int8_t)
FASTNN_NATIVE(uint8_t)
FASTNN_NATIVE(int32_t)
FASTNN_NATIVE(uint32_t)
FASTNN_NATIVE(int64_t)
FASTNN_NATIVE(uint64_t)
#undef FASTNN_NATIVE

template <class T>
struct Vec {
  static constexpr int N = kVectorBytes / static_cast<int>(sizeof(T));
  using Native = typename native<T>::type;
  using Unaligned = typename native<T>::unaligned;
  Native v;

  FASTNN_INLINE Vec() = default;
  FASTNN_INLINE Vec(Native native) : v(native) {}
  FASTNN_INLINE Vec(T x) : v(x - Native{}) {}  // x - 0 is x, -0 too, so it folds to a broadcast

  static FASTNN_INLINE Vec load(const T* p) {
    return Vec(static_cast<Native>(*reinterpret_cast<const Unaligned*>(p)));
  }
  FASTNN_INLINE void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
  // The first n lanes, 0 <= n <= N: nothing is read beyond, which leaves zeros, nor written.
  static Vec load_n(const T* p, int n);
  void store_n(T* p, int n) const;
  FASTNN_INLINE T operator[](int i) const { return v[i]; }
  static FASTNN_INLINE Vec constant(double c) { return Vec(static_cast<T>(c)); }
};

// Integers wrap: two's complement arithmetic is done on unsigned lanes, where overflow is defined.
template <class T>
struct wrapping {
  using type = T;
};
template <>
struct wrapping<int32_t> {
  using type = uint32_t;
};
template <>
struct wrapping<int64_t> {
  using type = uint64_t;
};
template <class T>
using Wrapping = typename native<typename wrapping<T>::type>::type;

#define FASTNN_OPERATOR(op, Lanes)                                                                  \
  template <class T>                                                                                \
  FASTNN_INLINE Vec<T> operator op(Vec<T> a, Vec<T> b) {                                            \
    return Vec<T>(reinterpret_cast<typename native<T>::type>(reinterpret_cast<Lanes>(a.v)           \
                                                                 op reinterpret_cast<Lanes>(b.v))); \
  }                                                                                                 \
  template <class T>                                                                                \
  FASTNN_INLINE Vec<T> operator op(Vec<T> a, T b) {                                                 \
    return a op Vec<T>(b);                                                                          \
  }                                                                                                 \
  template <class T>                                                                                \
  FASTNN_INLINE Vec<T> operator op(T a, Vec<T> b) {                                                 \
    return Vec<T>(a) op b;                                                                          \
  }
FASTNN_OPERATOR(+, Wrapping<T>)
FASTNN_OPERATOR(-, Wrapping<T>)
FASTNN_OPERATOR(*, Wrapping<T>)
FASTNN_OPERATOR(/, typename native<T>::type)
FASTNN_OPERATOR(&, typename native<T>::type)
FASTNN_OPERATOR(|, typename native<T>::type)
FASTNN_OPERATOR(^, typename native<T>::type)
#undef FASTNN_OPERATOR
template <class T>
FASTNN_INLINE Vec<T> operator-(Vec<T> a) {
  return Vec<T>(reinterpret_cast<typename native<T>::type>(-reinterpret_cast<Wrapping<T>>(a.v)));
}
template <class T>
FASTNN_INLINE Vec<T> operator~(Vec<T> a) {
  return Vec<T>(~a.v);
}
template <class T>
FASTNN_INLINE Vec<T> operator<<(Vec<T> a, int bits) {
  return Vec<T>(a.v << bits);
}
template <class T>
FASTNN_INLINE Vec<T> operator>>(Vec<T> a, int bits) {
  return Vec<T>(a.v >> bits);
}

// Comparisons give a mask: all bits set in the lanes that hold, none in the others.
template <class T>
using Mask = Vec<Int<T>>;
#define FASTNN_COMPARE(op)                                \
  template <class T>                                      \
  FASTNN_INLINE Mask<T> operator op(Vec<T> a, Vec<T> b) { \
    return Mask<T>(a.v op b.v);                           \
  }
FASTNN_COMPARE(==)
FASTNN_COMPARE(!=)
FASTNN_COMPARE(<)
FASTNN_COMPARE(<=)
FASTNN_COMPARE(>)
FASTNN_COMPARE(>=)
#undef FASTNN_COMPARE

template <class T>
FASTNN_INLINE Vec<T> select(Mask<T> mask, Vec<T> a, Vec<T> b) {
  return Vec<T>(mask.v ? a.v : b.v);
}

// The same bits as another type of equal size; and conversion by value between types of equal size
// (truncating).
template <class To, class From>
FASTNN_INLINE Vec<To> bit_cast(Vec<From> a) {
  static_assert(sizeof(To) == sizeof(From));
  return Vec<To>(reinterpret_cast<typename Vec<To>::Native>(a.v));
}
template <class To, class From>
FASTNN_INLINE Vec<To> convert(Vec<From> a) {
  static_assert(sizeof(To) == sizeof(From));
  return Vec<To>(__builtin_convertvector(a.v, typename Vec<To>::Native));
}

}  // namespace fastnn::FASTNN_ISA

// What the vector extensions lack: fused multiply-add, masks for tails, square roots, rounding.
#if defined(__AVX512F__)
#include "cpu/simd/avx512.h"
#elif defined(__AVX2__)
#include "cpu/simd/avx2.h"
#else
#include "cpu/simd/portable.h"
#endif

namespace fastnn::FASTNN_ISA {

template <class T>
FASTNN_INLINE Vec<T> Vec<T>::load_n(const T* p, int n) {
  Vec r(T(0));
  memcpy(&r.v, p, static_cast<size_t>(n) * sizeof(T));
  return r;
}
template <class T>
FASTNN_INLINE void Vec<T>::store_n(T* p, int n) const {
  memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}

template <class T>
FASTNN_INLINE Vec<T> abs(Vec<T> a) {  // the smallest integer stays itself
  if constexpr (std::is_floating_point_v<T>)
    return bit_cast<T>(bit_cast<Int<T>>(a) & Vec<Int<T>>(static_cast<Int<T>>(~Unsigned<T>(0) >> 1)));
  else if constexpr (std::is_unsigned_v<T>)
    return a;
  else
    return select(a < Vec<T>(T(0)), -a, a);
}

// -1, 0 or 1; the sign of NaN is NaN, of a zero that zero.
template <class T>
FASTNN_INLINE Vec<T> sign(Vec<T> x) {
  const Vec<T> zero(T(0)), one(T(1));
  return select(x > zero, one, select(x < zero, zero - one, x));
}

// The numbers 0 .. n - 1 as template arguments: a shuffle's choice of lanes is a constant of its instruction.
template <int... lane>
struct Lanes {};
template <int n, int... lane>
struct LanesUpTo : LanesUpTo<n - 1, n - 1, lane...> {};
template <int... lane>
struct LanesUpTo<0, lane...> {
  using type = Lanes<lane...>;
};

// Lanes chosen from a and b: l < N is lane l of a, N + l is lane l of b.
template <class T, int... lane>
FASTNN_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, Lanes<lane...>) {
#if defined(__clang__)
  return Vec<T>(__builtin_shufflevector(a.v, b.v, lane...));
#else
  return Vec<T>(__builtin_shuffle(a.v, b.v, typename native<Int<T>>::type{lane...}));
#endif
}

// Keeps a loaded vector in its register. Where one is used several times, gcc likes to load it again as an
// operand of each use.
template <class T>
FASTNN_INLINE void keep(Vec<T>& a) {
#if defined(__AVX512F__)
  asm("" : "+v"(a.v));
#elif defined(__x86_64__)
  asm("" : "+x"(a.v));
#else
  (void)a;
#endif
}

// Reductions over all lanes by one tree, whatever the set: lane i with lane i + N/2, and so on. Where an
// intrinsic exists the upper half is folded onto the lower in registers down to 16 bytes (fold) and from
// there to one lane.
#if defined(__AVX512F__)
FASTNN_INLINE __m256 lower(__m512 a) { return _mm512_castps512_ps256(a); }
FASTNN_INLINE __m256 upper(__m512 a) { return _mm512_extractf32x8_ps(a, 1); }
FASTNN_INLINE __m256d lower(__m512d a) { return _mm512_castpd512_pd256(a); }
FASTNN_INLINE __m256d upper(__m512d a) { return _mm512_extractf64x4_pd(a, 1); }
FASTNN_INLINE __m128 add_halves(__m512 a) {
  const __m256 s = _mm256_add_ps(lower(a), upper(a));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
FASTNN_INLINE __m128d add_halves(__m512d a) {
  const __m256d s = _mm256_add_pd(lower(a), upper(a));
  return _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
}
FASTNN_INLINE __m128 max_halves(__m512 a) {
  const __m256 s = _mm256_max_ps(lower(a), upper(a));
  return _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
FASTNN_INLINE __m128d max_halves(__m512d a) {
  const __m256d s = _mm256_max_pd(lower(a), upper(a));
  return _mm_max_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
}
#elif defined(__AVX2__)
FASTNN_INLINE __m128 add_halves(__m256 a) {
  return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}
FASTNN_INLINE __m128d add_halves(__m256d a) {
  return _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
}
FASTNN_INLINE __m128 max_halves(__m256 a) {
  return _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}
FASTNN_INLINE __m128d max_halves(__m256d a) {
  return _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
}
#elif defined(__x86_64__)
FASTNN_INLINE __m128 add_halves(__m128 a) { return a; }
FASTNN_INLINE __m128d add_halves(__m128d a) { return a; }
FASTNN_INLINE __m128 max_halves(__m128 a) { return a; }
FASTNN_INLINE __m128d max_halves(__m128d a) { return a; }
#endif

#if defined(__x86_64__)
#if defined(__AVX512F__)
using Ps = __m512;
using Pd = __m512d;
#elif defined(__AVX2__)
using Ps = __m256;
using Pd = __m256d;
#else
using Ps = __m128;
using Pd = __m128d;
#endif
FASTNN_INLINE float reduce_add(Vec<float> a) {
  __m128 s = add_halves((Ps)a.v);
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
FASTNN_INLINE double reduce_add(Vec<double> a) {
  const __m128d s = add_halves((Pd)a.v);
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
FASTNN_INLINE float reduce_max(Vec<float> a) {
  __m128 s = max_halves((Ps)a.v);
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
FASTNN_INLINE double reduce_max(Vec<double> a) {
  const __m128d s = max_halves((Pd)a.v);
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}
#endif
template <class T>
FASTNN_INLINE T reduce_add(Vec<T> a) {
  T lane[Vec<T>::N];
  a.store(lane);
  for (int half = Vec<T>::N / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}
template <class T>
FASTNN_INLINE T reduce_max(Vec<T> a) {
  T lane[Vec<T>::N];
  a.store(lane);
  for (int half = Vec<T>::N / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}

// Whether any lane of a mask is set.
template <class I>
FASTNN_INLINE bool any(Vec<I> mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask.v, (__m512i)mask.v) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask.v) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_epi8((__m128i)mask.v) != 0;
#else
  I bits = 0;
  for (int i = 0; i < Vec<I>::N; ++i) bits |= mask[i];
  return bits != 0;
#endif
}

// The first lane of a mask that is set; there is one.
template <class I>
FASTNN_INLINE int first(Vec<I> mask) {
#if defined(__AVX512F__)
  static_assert(sizeof(I) == 4 || sizeof(I) == 8);
  if constexpr (sizeof(I) == 4)
    return __builtin_ctz(_mm512_test_epi32_mask((__m512i)mask.v, (__m512i)mask.v));
  else
    return __builtin_ctz(_mm512_test_epi64_mask((__m512i)mask.v, (__m512i)mask.v));
#elif defined(__AVX2__)
  return __builtin_ctz(static_cast<unsigned>(_mm256_movemask_epi8((__m256i)mask.v))) /
         static_cast<int>(sizeof(I));
#elif defined(__x86_64__)
  return __builtin_ctz(static_cast<unsigned>(_mm_movemask_epi8((__m128i)mask.v))) /
         static_cast<int>(sizeof(I));
#else
  int i = 0;
  while (!mask[i]) ++i;
  return i;
#endif
}

// {0, 1, 2, ...}
template <class T>
FASTNN_INLINE Vec<T> iota() {
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) r.v[i] = static_cast<T>(i);
  return r;
}

}  // namespace fastnn::FASTNN_ISA
