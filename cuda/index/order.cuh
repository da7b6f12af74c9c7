// The order of a list of offsets by size, equal ones in the order of the list: what makes it possible to
// bring together the slices that fall into one place without atomics on them.
//
// Short lists: an entry's place is the number of entries before it, counted by a warp each. Long lists: a
// radix sort from the lowest digit, three kernels a digit (Satish, Harris, Garland, "Designing efficient
// sorting algorithms for manycore GPUs", IPDPS 2009), of as many digits as the number of places has.
#pragma once
#include "backend/index.h"
#include "cuda/common/nest.cuh"
#include "cuda/common/scan.cuh"

namespace fastnn::cuda {

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kSortThreads = kDigits, kSortWarps = kSortThreads / kWarpSize, kSortItems = 8;
constexpr int kSortTile = kSortThreads * kSortItems;
constexpr int64_t kShortList = 4096;
constexpr int64_t kLongestList = 1 << 24;

struct Order {
  const int64_t* offset;
  int64_t count;
  uint32_t *even, *odd;  // positions in the list, as the digits 0, 2 ... and 1, 3 ... leave them
  int digits;            // 0: a short list, whose order is in `even`
  int64_t lowest, places;
  WideDivide by_unit;

  __device__ uint64_t key(int64_t i) const {  // its place; the last of all where it has none
    return static_cast<uint64_t>(offset[i] == kNowhere ? places : by_unit.quotient(offset[i] - lowest));
  }
  __device__ uint32_t* left_by(int digit) const { return digit % 2 == 0 ? even : odd; }
  __device__ const uint32_t* sorted() const { return digits == 0 ? even : left_by(digits - 1); }
};

static __global__ void __launch_bounds__(kSortThreads, 1) order_short_list(Order order) {
  const int lane = threadIdx.x % kWarpSize;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSortWarps + threadIdx.x / kWarpSize;
  if (i >= order.count) return;  // the whole warp
  const int64_t own = order.offset[i];
  int before = 0;
  for (int64_t k = lane; k < order.count; k += kWarpSize) {
    const int64_t other = order.offset[k];
    before += other < own || (other == own && k < i);
  }
  before = warp_reduce(before, [](int a, int b) { return a + b; });
  if (lane == 0) order.even[before] = static_cast<uint32_t>(i);
}

// ---- one digit --------------------------------------------------------------------------------------------
struct Digit {
  Order order;
  int number;
  int64_t tiles;
  uint32_t* counts;  // kDigits x tiles
  uint32_t* totals;  // kDigits

  __device__ uint32_t entry(int64_t at) const {  // the list as the digit before has left it
    return number == 0 ? static_cast<uint32_t>(at) : order.left_by(number - 1)[at];
  }
  __device__ unsigned of(uint32_t i) const {
    return static_cast<unsigned>(order.key(i) >> (number * kDigitBits)) % kDigits;
  }
};

static __global__ void __launch_bounds__(kSortThreads, 1) count_digits(Digit digit) {
  SharedMemory shared;
  unsigned* count = shared.take<unsigned>(kDigits);
  count[threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kSortItems; ++j) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * kSortTile + j * kSortThreads + threadIdx.x;
    if (at < digit.order.count) atomicAdd(&count[digit.of(digit.entry(at))], 1u);
  }
  __syncthreads();
  digit.counts[threadIdx.x * digit.tiles + blockIdx.x] = count[threadIdx.x];
}

// Block d: how many entries with digit d the tiles before each one have.
static __global__ void __launch_bounds__(kSortThreads, 1) sum_digits(Digit digit) {
  SharedMemory shared;
  uint32_t* scratch = shared.take<uint32_t>(kWarpSize);
  uint32_t* count = digit.counts + blockIdx.x * digit.tiles;
  uint32_t sum = 0;
  for (int64_t first = 0; first < digit.tiles; first += kSortThreads) {
    const int64_t tile = first + threadIdx.x;
    uint32_t total;
    const uint32_t before = block_scan(tile < digit.tiles ? count[tile] : 0, total, scratch);
    if (tile < digit.tiles) count[tile] = sum + before;
    sum += total;
  }
  if (threadIdx.x == 0) digit.totals[blockIdx.x] = sum;
}

// A warp takes kSortItems times 32 consecutive entries. Among 32, an entry's rank is the number of lanes
// below with the same digit; `next` holds what the warp has seen of every digit, later where that goes.
static __global__ void __launch_bounds__(kSortThreads, 1) move_entries(Digit digit) {
  SharedMemory shared;
  unsigned* next_of_all = shared.take<unsigned>(kSortWarps * kDigits);
  unsigned* scratch = shared.take<unsigned>(kWarpSize);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  unsigned* next = next_of_all + warp * kDigits;
  for (int d = lane; d < kDigits; d += kWarpSize) next[d] = 0;
  __syncwarp();

  uint32_t entry[kSortItems];
  unsigned own[kSortItems], rank[kSortItems];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSortTile + warp * (kSortItems * kWarpSize) + lane;
#pragma unroll
  for (int j = 0; j < kSortItems; ++j) {
    const int64_t at = first + j * kWarpSize;
    const bool live = at < digit.order.count;
    entry[j] = live ? digit.entry(at) : 0;
    own[j] = live ? digit.of(entry[j]) : 0;
    unsigned same = __ballot_sync(kFullWarp, live);
#pragma unroll
    for (int b = 0; b < kDigitBits; ++b) {
      const bool bit = own[j] >> b & 1;
      const unsigned ones = __ballot_sync(kFullWarp, bit);
      same &= bit ? ones : ~ones;
    }
    const unsigned below = same & ((1u << lane) - 1);
    const unsigned seen = next[own[j]];
    rank[j] = seen + static_cast<unsigned>(__popc(below));
    __syncwarp();
    if (live && below == 0) next[own[j]] = seen + static_cast<unsigned>(__popc(same));
    __syncwarp();
  }
  __syncthreads();

  unsigned total;
  const unsigned d = threadIdx.x;
  unsigned begin = block_scan(static_cast<unsigned>(digit.totals[d]), total, scratch) +
                   digit.counts[d * digit.tiles + blockIdx.x];
  for (int w = 0; w < kSortWarps; ++w) {
    const unsigned count = next_of_all[w * kDigits + d];
    next_of_all[w * kDigits + d] = begin;
    begin += count;
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kSortItems; ++j)
    if (first + j * kWarpSize < digit.order.count)
      digit.order.left_by(digit.number)[next[own[j]] + rank[j]] = entry[j];
}

// ---- host -------------------------------------------------------------------------------------------------
// What ordering `count` entries takes of the workspace, and where its pieces are.
struct OrderSpace {
  int64_t tiles;
  size_t counts, bytes;

  explicit OrderSpace(int64_t count) : tiles(ceil_div<int64_t>(count, kSortTile)) {
    const size_t n = static_cast<size_t>(ceil_div<int64_t>(count, 64) * 64);
    counts = 2 * n * sizeof(uint32_t);
    bytes = counts + static_cast<size_t>(kDigits * (tiles + 1)) * sizeof(uint32_t);
    bytes = (bytes + 63) / 64 * 64;
  }
};

// Fills `order` for entries [first, first + count) of the list; its memory is OrderSpace(count).bytes from
// `memory` on.
inline Status order_offsets(Context& ctx, const IndexParams& p, int64_t first, int64_t count, char* memory,
                            Order* order) {
  const OrderSpace space(count);
  uint32_t* const places = reinterpret_cast<uint32_t*>(memory);
  *order = {.offset = p.offset + first,
            .count = count,
            .even = places,
            .odd = places + space.counts / (2 * sizeof(uint32_t)),
            .digits = 0,
            .lowest = p.lowest,
            .places = p.places,
            .by_unit = WideDivide(static_cast<uint64_t>(p.unit))};
  if (count <= kShortList)
    return launch<order_short_list>(ctx, static_cast<unsigned>(ceil_div<int64_t>(count, kSortWarps)),
                                    kSortThreads, 0, *order);
  do {
    ++order->digits;
  } while (p.places >> (order->digits * kDigitBits) != 0);
  uint32_t* const counts = reinterpret_cast<uint32_t*>(memory + space.counts);
  const unsigned tiles = static_cast<unsigned>(space.tiles);
  const size_t scratch = SharedMemory::bytes<unsigned>(kWarpSize);
  Status status = Status::ok;
  for (int number = 0; number < order->digits && status == Status::ok; ++number) {
    const Digit digit{*order, number, space.tiles, counts, counts + kDigits * space.tiles};
    status = launch<count_digits>(ctx, tiles, kSortThreads, SharedMemory::bytes<unsigned>(kDigits), digit);
    if (status == Status::ok) status = launch<sum_digits>(ctx, kDigits, kSortThreads, scratch, digit);
    if (status == Status::ok)
      status = launch<move_entries>(ctx, tiles, kSortThreads,
                                    SharedMemory::bytes<unsigned>(kSortWarps * kDigits) + scratch, digit);
  }
  return status;
}

}  // namespace fastnn::cuda
