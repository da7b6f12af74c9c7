// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A counter-based generator: block i of stream (seed, op) is a pure function of the three, so any thread,
// vector lane or device computes its own numbers without state.
#pragma once
#include <stdint.h>

#include "backend/host_device.h"

namespace fastnn {

struct PhiloxKey {
  uint32_t x, y;
};
constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;

// Four 32-bit draws for the 128-bit counter (block, op) under the 64-bit key `seed`.
FASTNN_HOST_DEVICE inline void philox4x32(uint64_t seed, uint64_t op, uint64_t block, uint32_t out[4]) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(op), c3 = static_cast<uint32_t>(op >> 32);
  PhiloxKey key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c0, p1 = static_cast<uint64_t>(kPhiloxM1) * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key.x;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key.y;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    key.x += kPhiloxW0;
    key.y += kPhiloxW1;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

}  // namespace fastnn
