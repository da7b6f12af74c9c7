// Squares of elements turned round in registers of 16 bytes, which every x86-64 has: of more lanes, the
// shuffles would cost more than the wider stores bring. Elements are moved as bits of 1, 2, 4 or 8 bytes.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

template <class U>
FASTNN_INLINE void move_one(char* dst, const char* src) {
  U u;
  memcpy(&u, src, sizeof u);
  memcpy(dst, &u, sizeof u);
}

// dst[i * di + j] = src[i + j * sj] for a square of kSquare<U>, through registers; strides in bytes.
template <class U>
constexpr int kSquare = 1;
#if defined(__x86_64__)
template <>
inline constexpr int kSquare<uint8_t> = 8;
template <>
inline constexpr int kSquare<uint16_t> = 8;
template <>
inline constexpr int kSquare<uint32_t> = 4;
template <>
inline constexpr int kSquare<uint64_t> = 2;
FASTNN_INLINE void transpose_square(char* dst, int64_t di, const char* src, int64_t sj, uint8_t) {
  __m128i r[8];
  for (int k = 0; k < 8; ++k) r[k] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src + k * sj));
  for (int k = 0; k < 4; ++k) r[k] = _mm_unpacklo_epi8(r[2 * k], r[2 * k + 1]);  // pairs of j, for i = 0..7
  const __m128i a = _mm_unpacklo_epi16(r[0], r[1]), b = _mm_unpackhi_epi16(r[0], r[1]);
  const __m128i c = _mm_unpacklo_epi16(r[2], r[3]), d = _mm_unpackhi_epi16(r[2], r[3]);
  const __m128i rows[4] = {_mm_unpacklo_epi32(a, c), _mm_unpackhi_epi32(a, c), _mm_unpacklo_epi32(b, d),
                           _mm_unpackhi_epi32(b, d)};
  for (int k = 0; k < 4; ++k) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(dst + 2 * k * di), rows[k]);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(dst + (2 * k + 1) * di),
                     _mm_unpackhi_epi64(rows[k], rows[k]));
  }
}
FASTNN_INLINE void transpose_square(char* dst, int64_t di, const char* src, int64_t sj, uint16_t) {
  __m128i r[8], s[8];
  for (int k = 0; k < 8; ++k) r[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + k * sj));
  for (int k = 0; k < 4; ++k) {
    s[k] = _mm_unpacklo_epi16(r[2 * k], r[2 * k + 1]);      // pairs of j, for i = 0..3
    s[k + 4] = _mm_unpackhi_epi16(r[2 * k], r[2 * k + 1]);  // and 4..7
  }
  for (int h = 0; h < 8; h += 4) {
    const __m128i a = _mm_unpacklo_epi32(s[h], s[h + 1]), b = _mm_unpackhi_epi32(s[h], s[h + 1]);
    const __m128i c = _mm_unpacklo_epi32(s[h + 2], s[h + 3]), d = _mm_unpackhi_epi32(s[h + 2], s[h + 3]);
    const __m128i rows[4] = {_mm_unpacklo_epi64(a, c), _mm_unpackhi_epi64(a, c), _mm_unpacklo_epi64(b, d),
                             _mm_unpackhi_epi64(b, d)};
    for (int k = 0; k < 4; ++k) _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + (h + k) * di), rows[k]);
  }
}
FASTNN_INLINE void transpose_square(char* dst, int64_t di, const char* src, int64_t sj, uint32_t) {
  __m128 r[4];
  for (int k = 0; k < 4; ++k) r[k] = _mm_loadu_ps(reinterpret_cast<const float*>(src + k * sj));
  _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
  for (int k = 0; k < 4; ++k) _mm_storeu_ps(reinterpret_cast<float*>(dst + k * di), r[k]);
}
FASTNN_INLINE void transpose_square(char* dst, int64_t di, const char* src, int64_t sj, uint64_t) {
  const __m128d a = _mm_loadu_pd(reinterpret_cast<const double*>(src));
  const __m128d b = _mm_loadu_pd(reinterpret_cast<const double*>(src + sj));
  _mm_storeu_pd(reinterpret_cast<double*>(dst), _mm_unpacklo_pd(a, b));
  _mm_storeu_pd(reinterpret_cast<double*>(dst + di), _mm_unpackhi_pd(a, b));
}
#endif
template <class U>
FASTNN_INLINE void transpose_square(char* dst, int64_t, const char* src, int64_t, U) {
  move_one<U>(dst, src);
}

}  // namespace fastnn::FASTNN_ISA
