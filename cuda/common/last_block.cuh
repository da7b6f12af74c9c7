// Finishing a launch without another one: every block leaves a partial result, and the last one to do so
// brings them together, in an order that does not depend on which block that is.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Whether this block is the last of `blocks` to come here; then all that the others wrote before they came is
// there to be read, with __ldcg: a multiprocessor's first-level cache knows nothing of other writers. For
// every thread of a block; `ticket` is zero before and after.
__device__ inline bool is_last_block(unsigned* ticket, unsigned blocks) {
  __syncthreads();  // what the block's other threads have written comes before the fence, too
  if (blocks == 1) return true;
  bool last = false;
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1u) == blocks - 1;
    if (last) {
      __threadfence();
      atomicExch(ticket, 0u);
    }
  }
  return __syncthreads_or(last) != 0;
}

}  // namespace fastnn::cuda
