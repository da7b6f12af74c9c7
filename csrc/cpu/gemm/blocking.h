// Tile and block sizes of the matrix product per instruction set: data, with the reason for each number. What
// caches decide alone (rows of a block, which operands are packed) is in plan.h.
// Where a reason says "measured", products of 64 to 2048 on a side and the shapes of small nets were timed on
// Zen 5; what is packed, on an Intel server with 2 MB of L2, with AVX-512 and with AVX2. Single-threaded.
#pragma once
#include "backend/integers.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

constexpr int kMaxVectors = kVectorBytes == 64 ? 4 : 2;  // NV of the widest tile

// MR by NV: the rows of a tile of C in registers, for each number of vectors of columns. MR * NV accumulators
// need NV more registers for a row of B and one for an element of A; 8 accumulators hide the latency of two
// multiply-add units (4 cycles each), and the nearer MR elements and NV vectors come to each other, the fewer
// loads per multiply-add. AVX-512, 32 registers: 6x4, 8x3 and 12x2 are 24 accumulators, all measured at the
// units' peak; 12x1 for few columns. AVX2, 16 registers: 6x2 is 12 accumulators, 2 of B, 1 of A. SSE
// multiplies into a temporary and destroys an operand: 4x2 leaves it room. Narrow tiles are taller, so that
// there are still 8 accumulators or more.
constexpr int max_rows(int vectors) {
  constexpr int wide[] = {12, 12, 8, 6}, avx2[] = {12, 6}, sse[] = {8, 4};
  return kVectorBytes == 64 ? wide[vectors - 1] : kVectorBytes == 32 ? avx2[vectors - 1] : sse[vectors - 1];
}

// Rows of a tile whose B is transposed in registers: the block of B takes N of them, its rows the others. For
// so few rows packing B would cost as much as the product. AVX-512 has registers for 12 rows; of 9 to 12 the
// packed product takes 0.75 to 1.1 times as long, measured.
constexpr int kTransposedRows = kVectorBytes == 64 ? 8 : kVectorBytes == 32 ? 6 : 4;

template <class T>
struct Blocking {
  static constexpr int NV = kMaxVectors;
  static constexpr int NR = NV * Vec<T>::N;
  static constexpr int MR = max_rows(NV);

  // Depth of a block. A panel of B, KC x NR, is at most 128 KB and streams from L2 at a quarter of its rate
  // while KC rows' worth of A stays in L1. 256 floats read and write C twice as often: 2 to 5% slower,
  // measured; 768 is no faster.
  static constexpr int KC = 2048 / sizeof(T);
  // Bytes of a block at most. A's, of mc rows, takes half of L2; beyond 512 KB it is slower although L2 has
  // room, for want of pages near at hand. B's streams through L1 once for every block of A, so slowly that
  // memory could keep up: its size bounds scratch memory.
  static constexpr int64_t kBlockOfA = 512 << 10, kBlockOfB = 4 << 20;

  // B with rows along memory is read where it lies, unless it is too large for L1, has more columns than a
  // panel, and the product is long enough and has rows enough to earn back a copy.
  static constexpr int64_t kUnpackedElements = 1 << 14, kPackedRows = 16;
  static constexpr double kPackedFmas = kVectorBytes == 64 ? 25 << 20 : 1 << 24;
  // So is A. Its rows are packed if it is larger than a block of A twice; if they do not run along memory, a
  // tile reads few bytes of each of many far lines, and less is enough. Either way only if enough columns of
  // B use them, more of wide vectors.
  static constexpr int64_t kPackedColumns = 512;
  static constexpr int64_t kPackedColumnsOfFarLines = kVectorBytes == 64 ? 512 : 192;
  static constexpr int64_t kFarLines = kVectorBytes == 64 ? 1 << 16 : 1 << 14;  // elements

  // Threads pack an A of up to 256 MB together, all of it; of a larger one each task packs its own part.
  static constexpr int64_t kSharedElements = (256 << 20) / sizeof(T);

  // Tasks: enough for a handful of threads to share evenly, and none shorter than about 5 us.
  static constexpr int64_t kTasks = 16, kTasksPerThread = 4;
  static constexpr double kTaskFmas = 1 << 20;
  static constexpr int64_t kPackedTaskRows = 128;  // rows are cut no finer where every cut packs B again
  static constexpr int64_t kSplitDepth = 2048;     // nor k: each part writes and reads a C of its own
  static constexpr int64_t kSplitRows = 512;       // of C that are task enough without
};

// Parts that cut m evenly: 20 rows by tiles of at most 6 become 5 5 5 5, not 6 6 6 2.
constexpr int even_part(int64_t m, int64_t most) {
  return m <= 0 ? 1 : static_cast<int>(ceil_div(m, ceil_div(m, most)));
}

// float32 has a tile of every height up to `most`. float64 has those of 1, 2, 4, 8 rows and the tallest:
// every instance takes time to compile and bytes, and a few rows more that go over B once more take less than
// half as long again.
template <class T>
constexpr bool kEveryHeight = sizeof(T) == sizeof(float);

// The tallest tile that there is, of no more than `rows`.
template <class T>
constexpr int tile_height(int rows, int most) {
  if (kEveryHeight<T> || rows >= most) return min_of(rows, most);
  int height = 1;
  while (2 * height <= rows) height *= 2;
  return height;
}

// Rows of a tile where m are cut.
template <class T>
constexpr int tile_rows(int64_t m, int64_t most) {
  if (kEveryHeight<T>) return even_part(m, most);
  return m <= 0 ? 1 : static_cast<int>(min_of(m, most));
}

}  // namespace fastnn::FASTNN_ISA
