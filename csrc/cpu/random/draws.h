// Philox 4x32-10 in vectors: the words of backend/philox.h's scalar definition, block after block.
//
// A 64-bit lane holds one word of one block in its low half, so the 32 x 32 -> 64 bit multiply of every
// instruction set applies directly, and what is left in the high half is never looked at.
#pragma once
#include "backend/philox.h"
#include "cpu/simd/interleave.h"

namespace fastnn::FASTNN_ISA {

using Words = Vec<uint64_t>;

// kDrawWords words from word 0 of `block` on: word w of block b at 4 b + w. Several groups of Words::N blocks
// go through the rounds side by side, which hides the latency of the multiplies.
constexpr int kGroups = kRegisters / 8;
constexpr int kDrawWords = kGroups * 4 * Words::N;
FASTNN_INLINE void draw_words(uint64_t seed, uint64_t op, uint64_t block, uint32_t* out) {
  Words c0[kGroups], c1[kGroups], c2[kGroups], c3[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    c0[g] = Words(block + static_cast<uint64_t>(g * Words::N)) + iota<uint64_t>();
    c1[g] = c0[g] >> 32, c2[g] = Words(op), c3[g] = Words(op >> 32);
  }
  uint32_t kx = static_cast<uint32_t>(seed), ky = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, kx += kPhiloxW0, ky += kPhiloxW1)
    for (int g = 0; g < kGroups; ++g) {
      const Words p0 = multiply_low_halves(c0[g], Words(kPhiloxM0)),
                  p1 = multiply_low_halves(c2[g], Words(kPhiloxM1));
      c0[g] = (p1 >> 32) ^ c1[g] ^ Words(kx);
      c2[g] = (p0 >> 32) ^ c3[g] ^ Words(ky);
      c1[g] = p1, c3[g] = p0;
    }
  const Words low(0xffffffffull);
  uint64_t* pairs = reinterpret_cast<uint64_t*>(out);
  for (int g = 0; g < kGroups; ++g, pairs += 2 * Words::N) {  // words 0 and 1 of each block, then 2 and 3
    const Both<double> both = interleave(bit_cast<double>((c0[g] & low) | (c1[g] << 32)),
                                         bit_cast<double>((c2[g] & low) | (c3[g] << 32)));
    bit_cast<uint64_t>(both.a).store(pairs);
    bit_cast<uint64_t>(both.b).store(pairs + Words::N);
  }
}

}  // namespace fastnn::FASTNN_ISA
