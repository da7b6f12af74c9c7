// Bools beside masks: vectors of as many bytes as a Vec has lanes, widened to lanes and narrowed from them.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// The vector of as many bytes as a Vec has lanes of `size` bytes: bools beside masks.
template <int size>
struct Bytes;
#define FASTNN_BYTES(size)                                                 \
  template <>                                                              \
  struct Bytes<size> {                                                     \
    typedef int8_t type __attribute__((vector_size(kVectorBytes / size))); \
  };
FASTNN_BYTES(1)
FASTNN_BYTES(4)
FASTNN_BYTES(8)
#undef FASTNN_BYTES

// Between bytes and lanes of 1, 4 or 8 bytes: bytes to integers, masks to bytes of 0 or 1. gcc converts
// vectors that differ in size lane by lane, so the instructions are named.
using Bytes1 = Bytes<1>::type;
using Bytes4 = Bytes<4>::type;
using Bytes8 = Bytes<8>::type;
using Lanes4 = Vec<int32_t>::Native;
using Lanes8 = Vec<int64_t>::Native;
FASTNN_INLINE Bytes1 widen_bytes(Bytes1 b, Bytes1) { return b; }
FASTNN_INLINE Bytes1 narrow_mask(Bytes1 mask) { return -mask; }
#if defined(__AVX512F__)
FASTNN_INLINE Lanes4 widen_bytes(Bytes4 b, Lanes4) { return (Lanes4)_mm512_cvtepi8_epi32((__m128i)b); }
FASTNN_INLINE Lanes8 widen_bytes(Bytes8 b, Lanes8) {
  return (Lanes8)_mm512_cvtepi8_epi64(_mm_cvtsi64_si128((long long)b));
}
FASTNN_INLINE Bytes4 narrow_mask(Lanes4 mask) { return -__builtin_convertvector(mask, Bytes4); }
FASTNN_INLINE Bytes8 narrow_mask(Lanes8 mask) { return -__builtin_convertvector(mask, Bytes8); }
#elif defined(__AVX2__)
FASTNN_INLINE Lanes4 widen_bytes(Bytes4 b, Lanes4) {
  return (Lanes4)_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)b));
}
FASTNN_INLINE Lanes8 widen_bytes(Bytes8 b, Lanes8) {
  return (Lanes8)_mm256_cvtepi8_epi64(_mm_cvtsi32_si128((int)b));
}
FASTNN_INLINE Bytes4 narrow_mask(Lanes4 mask) {
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128((__m256i)mask), _mm256_extracti128_si256((__m256i)mask, 1));
  return -(Bytes4)_mm_cvtsi128_si64(_mm_packs_epi16(words, words));
}
FASTNN_INLINE Bytes8 narrow_mask(Lanes8 mask) {  // bit i of the mask to bit 8 i
  return (Bytes8)((_mm256_movemask_pd((__m256d)mask) * 0x00204081) & 0x01010101);
}
#elif defined(__x86_64__)
FASTNN_INLINE Lanes4 widen_bytes(Bytes4 b, Lanes4) {
  const __m128i x = _mm_cvtsi32_si128((int)b), twice = _mm_unpacklo_epi8(x, x);
  return (Lanes4)_mm_unpacklo_epi16(
      twice, twice);  // each byte four times: as good as widened where 0 or not is asked
}
FASTNN_INLINE Lanes8 widen_bytes(Bytes8 b, Lanes8) { return Lanes8{b[0], b[1]}; }
FASTNN_INLINE Bytes4 narrow_mask(Lanes4 mask) {
  const __m128i words = _mm_packs_epi32((__m128i)mask, (__m128i)mask);
  return -(Bytes4)_mm_cvtsi128_si32(_mm_packs_epi16(words, words));
}
FASTNN_INLINE Bytes8 narrow_mask(Lanes8 mask) {
  const int bits = _mm_movemask_pd((__m128d)mask);
  return (Bytes8)(short)((bits | bits << 7) & 0x0101);
}
#else
FASTNN_INLINE Lanes4 widen_bytes(Bytes4 b, Lanes4) { return __builtin_convertvector(b, Lanes4); }
FASTNN_INLINE Lanes8 widen_bytes(Bytes8 b, Lanes8) { return __builtin_convertvector(b, Lanes8); }
FASTNN_INLINE Bytes4 narrow_mask(Lanes4 mask) { return -__builtin_convertvector(mask, Bytes4); }
FASTNN_INLINE Bytes8 narrow_mask(Lanes8 mask) { return -__builtin_convertvector(mask, Bytes8); }
#endif

}  // namespace fastnn::FASTNN_ISA
