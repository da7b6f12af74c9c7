// What the probes of Hopper's instructions share.
#pragma once
#include "cuda/common/ptx_hopper.cuh"
#include "cuda/probe/probe.cuh"

namespace fastnn::cuda::probe {

constexpr int kGroup = 128;        // threads of a warpgroup
constexpr unsigned kAlign = 1024;  // what the widest swizzle asks for

// The dynamic shared memory that starts at a multiple of 1,024.
__device__ inline unsigned char* aligned(SharedMemory& memory, size_t bytes) {
  unsigned char* p = memory.take<unsigned char>(bytes + kAlign);
  return p + (kAlign - ptx::shared_address(p) % kAlign) % kAlign;
}
struct Lines {  // of 16-byte pieces, among which a swizzle permutes
  const char* name;
  unsigned bytes;
  ptx::Swizzle swizzle;
};
constexpr Lines kLines[] = {{"no swizzle", 16, ptx::Swizzle::none},
                            {"swizzle 32", 32, ptx::Swizzle::bytes32},
                            {"swizzle 64", 64, ptx::Swizzle::bytes64},
                            {"swizzle 128", 128, ptx::Swizzle::bytes128}};

void add_box_experiments(Experiments& all);  // TMA, stmatrix

}  // namespace fastnn::cuda::probe
