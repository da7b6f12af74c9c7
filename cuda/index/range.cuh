// The smallest and largest of many indices, and whether all are multiples of `inner`.
#pragma once
#include "cuda/common/nest.cuh"

namespace fastnn::cuda {

struct Range {
  int64_t low, high;
  int64_t rest;  // 0: all are multiples
};
constexpr int kRangeThreads = 256, kMostRangeBlocks = 1024, kRangeLoads = 4;

__device__ inline void see_range(Range& range, const Range& other) {
  range.low = other.low < range.low ? other.low : range.low;
  range.high = other.high > range.high ? other.high : range.high;
  range.rest |= other.rest;
}
// `range` of the thread becomes the block's.
__device__ inline void reduce_range(Range& range) {
  SharedMemory shared;
  int64_t* scratch = shared.take<int64_t>(kWarpSize);
  range.low = block_reduce(range.low, [](int64_t a, int64_t b) { return a < b ? a : b; }, INT64_MAX, scratch);
  range.high =
      block_reduce(range.high, [](int64_t a, int64_t b) { return a > b ? a : b; }, INT64_MIN, scratch);
  range.rest = block_reduce(range.rest, [](int64_t a, int64_t b) { return a | b; }, int64_t{0}, scratch);
}

static __global__ void __launch_bounds__(kRangeThreads, 1)
    range_of_parts(Range* part, const int64_t* index, int64_t count, WideDivide by_inner) {
  Range range{INT64_MAX, INT64_MIN, 0};
  const int64_t step = static_cast<int64_t>(gridDim.x) * kRangeThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kRangeThreads + threadIdx.x; i < count;
       i += kRangeLoads * step) {
    int64_t batch[kRangeLoads];
#pragma unroll
    for (int j = 0; j < kRangeLoads; ++j) batch[j] = i + j * step < count ? index[i + j * step] : index[i];
#pragma unroll
    for (int j = 0; j < kRangeLoads; ++j) {
      const int64_t whole = by_inner.quotient(batch[j] < 0 ? 0 : batch[j]) * by_inner.divisor;
      see_range(range, {batch[j], batch[j], batch[j] - whole});
    }
  }
  reduce_range(range);
  if (threadIdx.x == 0) part[blockIdx.x] = range;
}
static __global__ void __launch_bounds__(kRangeThreads, 1)
    range_of_ranges(Range* whole, int64_t* range_out, const Range* part, int parts) {
  Range range{INT64_MAX, INT64_MIN, 0};
  for (int i = static_cast<int>(threadIdx.x); i < parts; i += kRangeThreads) see_range(range, part[i]);
  reduce_range(range);
  if (threadIdx.x != 0) return;
  if (whole) *whole = range;
  if (range_out) range_out[0] = range.low, range_out[1] = range.high;
}

// Writes *whole, and {low, high} to range_out; either may be null. `part` holds kMostRangeBlocks.
inline Status find_range(Context& ctx, const int64_t* index, int64_t count, int64_t inner, Range* part,
                         Range* whole, int64_t* range_out) {
  const int64_t blocks = ceil_div<int64_t>(count, kRangeThreads * kRangeLoads);
  const int parts = static_cast<int>(blocks < kMostRangeBlocks ? blocks : kMostRangeBlocks);
  const size_t shared = SharedMemory::bytes<int64_t>(kWarpSize);
  const Status status = launch<range_of_parts>(ctx, static_cast<unsigned>(parts), kRangeThreads, shared, part,
                                               index, count, WideDivide(static_cast<uint64_t>(inner)));
  if (status != Status::ok) return status;
  return launch<range_of_ranges>(ctx, 1, kRangeThreads, shared, whole, range_out, part, parts);
}

}  // namespace fastnn::cuda
