// Prefix sums over a block.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// The sum of `value` over the threads before this one; `total` is that over all. `scratch` holds 32 elements
// and may be used again at once. The block is a multiple of 32 threads.
template <class T>
__device__ T block_scan(T value, T& total, T* scratch) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, warps = blockDim.x / kWarpSize;
  T sum = value;  // up to and with this thread, of the warp
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const T before = __shfl_up_sync(kFullWarp, sum, distance);
    if (lane >= distance) sum += before;
  }
  if (lane == kWarpSize - 1) scratch[warp] = sum;
  __syncthreads();
  T of_warps = T(0);
  total = T(0);
  for (int w = 0; w < warps; ++w) {
    if (w == warp) of_warps = total;
    total += scratch[w];
  }
  __syncthreads();
  return of_warps + sum - value;
}

}  // namespace fastnn::cuda
