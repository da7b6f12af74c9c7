// Philox 4x32-10 in vectors: the words of backend/philox.h's scalar definition, block after block.
//
// A 64-bit lane holds one word of one block in its low half, so the 32 x 32 -> 64 bit multiply of every
// instruction set applies directly, and what is left in the high half is never looked at.
#pragma once
#include "../backend/philox.h"
#include "interleave.h"

namespace fastnn::FASTNN_ISA {

template <class T>
struct same_size;  // the unsigned integer of T's size
template <>
struct same_size<float> {
  using type = uint32_t;
};
template <>
struct same_size<double> {
  using type = uint64_t;
};

using Words = Vec<uint64_t>;

// The product of the low halves.
FASTNN_INLINE Words multiply_words(Words a, Words b) {
#if defined(__AVX512F__)
  return Words((Words::Native)_mm512_mul_epu32((__m512i)a.v, (__m512i)b.v));
#elif defined(__AVX2__)
  return Words((Words::Native)_mm256_mul_epu32((__m256i)a.v, (__m256i)b.v));
#elif defined(__x86_64__)
  return Words((Words::Native)_mm_mul_epu32((__m128i)a.v, (__m128i)b.v));
#else
  return (a & Words(0xffffffffull)) * (b & Words(0xffffffffull));
#endif
}

// Words::N blocks from `block` on. first: words 0 and 1 of each block, as word 0 | word 1 << 32; second:
// words 2 and 3.
struct Draws {
  Words first, second;
};

FASTNN_INLINE Draws draw(uint64_t seed, uint64_t op, uint64_t block) {
  const Words blocks = Words(block) + iota<uint64_t>(), low(0xffffffffull);
  Words c0 = blocks, c1 = blocks >> 32, c2(op), c3(op >> 32);
  uint32_t kx = static_cast<uint32_t>(seed), ky = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, kx += kPhiloxW0, ky += kPhiloxW1) {
    const Words p0 = multiply_words(c0, Words(kPhiloxM0)), p1 = multiply_words(c2, Words(kPhiloxM1));
    c0 = (p1 >> 32) ^ c1 ^ Words(kx);
    c2 = (p0 >> 32) ^ c3 ^ Words(ky);
    c1 = p1, c3 = p0;
  }
  return {(c0 & low) | (c1 << 32), (c2 & low) | (c3 << 32)};
}

// The same in the order of the stream: word w of block b at 4 b + w, two vectors of words. Two groups are
// drawn together to hide the latency of the multiplies.
constexpr int kDrawWords = 8 * Words::N;
FASTNN_INLINE void draw_words(uint64_t seed, uint64_t op, uint64_t block, uint32_t* out) {
  const Draws x = draw(seed, op, block), y = draw(seed, op, block + Words::N);
  const Both<double> a = interleave(bit_cast<double>(x.first), bit_cast<double>(x.second));
  const Both<double> b = interleave(bit_cast<double>(y.first), bit_cast<double>(y.second));
  uint64_t* pairs = reinterpret_cast<uint64_t*>(out);
  bit_cast<uint64_t>(a.a).store(pairs);
  bit_cast<uint64_t>(a.b).store(pairs + Words::N);
  bit_cast<uint64_t>(b.a).store(pairs + 2 * Words::N);
  bit_cast<uint64_t>(b.b).store(pairs + 3 * Words::N);
}

}  // namespace fastnn::FASTNN_ISA
