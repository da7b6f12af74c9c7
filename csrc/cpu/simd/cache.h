// What a loop says to the caches: results that shall not stay in them, and memory that it will want.
#pragma once
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// Results larger than the last-level cache bypass it: the lines written would be read only to be overwritten,
// and push out what is still needed.
constexpr int64_t kStreamBytes = 32 << 20;

// Stores x past the caches, to an aligned p; stream_end() when all is done.
template <class T>
FASTNN_INLINE void stream_vector(Vec<T> x, T* p) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)x.v);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)x.v);
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)x.v);
#else
  x.store(p);
#endif
}
// Orders what was streamed before what follows.
FASTNN_INLINE void stream_end() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// Asks for memory that is read, or written, kAheadBytes later: for loops that stream through it and do so
// much with each vector that the processor by itself does not look far enough ahead.
constexpr int kAheadBytes = 8192;
template <class T>
FASTNN_INLINE void prefetch_ahead(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kAheadBytes);
}
template <class T>
FASTNN_INLINE void prefetch_ahead_to_write(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kAheadBytes, 1);
}

}  // namespace fastnn::FASTNN_ISA
