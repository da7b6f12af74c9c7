// The offsets of the elements that are true, in row-major order: how many each tile of kTile elements has,
// the sums of these counts, and then every tile knows where its offsets go.
#pragma once
#include "backend/index.h"
#include "cuda/common/nest.cuh"
#include "cuda/common/scan.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {

constexpr int kTrueThreads = 256, kTrueItems = 16, kTrueTile = kTrueThreads * kTrueItems;
constexpr int kTrueSumThreads = 1024;

// A bit for each of this thread's elements, which begin at `first`.
__device__ inline unsigned true_bits(const uint8_t* x, const Nest& nest, bool vectors, int64_t first,
                                     int64_t numel) {
  unsigned bits = 0;
  if (vectors && first + kTrueItems <= numel) {
    const auto held = Vector<uint8_t>::load(x + first);
#pragma unroll
    for (int j = 0; j < kTrueItems; ++j) bits |= static_cast<unsigned>(held.v[j] != 0) << j;
  } else {
    for (int j = 0; j < kTrueItems && first + j < numel; ++j)
      bits |= static_cast<unsigned>(x[nest.offset(first + j)] != 0) << j;
  }
  return bits;
}
__device__ inline int64_t first_item() {
  return static_cast<int64_t>(blockIdx.x) * kTrueTile + threadIdx.x * kTrueItems;
}

static __global__ void __launch_bounds__(kTrueThreads, 1)
    count_true(int64_t* counts, const uint8_t* x, Nest nest, bool vectors, int64_t numel) {
  SharedMemory shared;
  int* scratch = shared.take<int>(kWarpSize);
  const int own = __popc(true_bits(x, nest, vectors, first_item(), numel));
  const int count = block_reduce(own, [](int a, int b) { return a + b; }, 0, scratch);
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

// counts[i] becomes the sum of those before it. One block.
static __global__ void __launch_bounds__(kTrueSumThreads, 1) sum_counts(int64_t* counts, int64_t tiles) {
  SharedMemory shared;
  int64_t* scratch = shared.take<int64_t>(kWarpSize);
  int64_t sum = 0;
  for (int64_t first = 0; first < tiles; first += blockDim.x) {
    const int64_t tile = first + threadIdx.x;
    int64_t total;
    const int64_t before = block_scan(tile < tiles ? counts[tile] : int64_t{0}, total, scratch);
    if (tile < tiles) counts[tile] = sum + before;
    sum += total;
  }
}

static __global__ void __launch_bounds__(kTrueThreads, 1)
    write_true(int64_t* y, const int64_t* counts, const uint8_t* x, Nest nest, Nest offsets, bool vectors,
               int64_t numel) {
  SharedMemory shared;
  int* scratch = shared.take<int>(kWarpSize);
  const int64_t first = first_item();
  unsigned bits = true_bits(x, nest, vectors, first, numel);
  int total;
  int64_t* to = y + counts[blockIdx.x] + block_scan(__popc(bits), total, scratch);
  for (int j = 0; bits != 0; ++j, bits >>= 1)
    if (bits & 1) *to++ = offsets.offset(first + j);
}

inline Status nonzero_offsets(Context& ctx, const NonzeroParams& p) {
  const Loop<2>& loop = p.loop;
  const int64_t tiles = ceil_div<int64_t>(loop.numel, kTrueTile);
  if (tiles == 0) return Status::ok;
  int64_t* counts = workspace<int64_t>(ctx, static_cast<size_t>(tiles));
  if (!counts) return Status::need_workspace;
  const uint8_t* x = reinterpret_cast<const uint8_t*>(p.x);
  bool vectors = vector_aligned(x);
  int64_t dense = 1;
  for (int d = loop.ndim - 1; d >= 0; --d) {
    vectors = vectors && (loop.shape[d] == 1 || loop.stride[1][d] == dense);
    dense *= loop.shape[d];
  }
  const Nest nest(loop, 1), offsets(loop, 0);
  const unsigned grid = static_cast<unsigned>(tiles);
  const size_t shared = SharedMemory::bytes<int>(kWarpSize);
  Status status = launch<count_true>(ctx, grid, kTrueThreads, shared, counts, x, nest, vectors, loop.numel);
  const int threads = power_of_two(tiles, kTrueSumThreads);
  if (status == Status::ok)
    status = launch<sum_counts>(ctx, 1, static_cast<unsigned>(threads < kWarpSize ? kWarpSize : threads),
                                SharedMemory::bytes<int64_t>(kWarpSize), counts, tiles);
  if (status != Status::ok) return status;
  return launch<write_true>(ctx, grid, kTrueThreads, shared, p.y, counts, x, nest, offsets, vectors,
                            loop.numel);
}

}  // namespace fastnn::cuda
