// Tile and block sizes of the matrix product per instruction set: data, with the reason for each number.
//
//   MR x NV   rows and vectors of columns of C that one micro-kernel keeps in registers. MR * NV accumulators
//   need NV more
//             registers for a row of B and one for a broadcast element of A; at least 8 accumulators hide the
//             latency of two multiply-add units (4 cycles each), and the closer to square (MR against NV),
//             the fewer loads per multiply-add.
//   KC        depth of a packed block. A panel of B (KC x NR) is read once per MR rows of A and stays in L1
//   or streams from
//             L2; C is read and written once per KC.
//   MC        rows of a packed block of A: MC x KC stays in L2 while panels of B pass by.
//   NC        columns of a packed block of B: KC x NC stays in L3, or in L2 where the problem is small.
#pragma once
#include "simd.h"

namespace fastnn::FASTNN_ISA {

constexpr int kMaxVectors = kVectorBytes == 64 ? 4 : 2;  // NV of the widest tile

// MR by NV. AVX-512, 32 registers: 6x4, 8x3 and 12x2 are 24 accumulators; 12x1 is for matrices with few
// columns. AVX2, 16 registers: 6x2 is 12 accumulators, 2 of B, 1 of A. SSE multiplies into a temporary and
// destroys an operand: 4x2 leaves it room. Narrow tiles are taller, so that there are still 8 accumulators or
// more.
constexpr int max_rows(int vectors) {
  constexpr int wide[] = {12, 12, 8, 6}, avx2[] = {12, 6}, sse[] = {8, 4};
  return kVectorBytes == 64 ? wide[vectors - 1] : kVectorBytes == 32 ? avx2[vectors - 1] : sse[vectors - 1];
}

template <class T>
struct Blocking {
  static constexpr int NV = kMaxVectors;
  static constexpr int NR = NV * Vec<T>::N;
  static constexpr int MR = max_rows(NV);
  static constexpr int KC = 1024 / sizeof(T);
  static constexpr int64_t MC = 512;

  static constexpr int64_t kUnpackedRows = kVectorBytes == 64 ? 640 : 192;
  static constexpr bool kPackColumnsOfA = kVectorBytes < 64;
  static constexpr int64_t kUnpackedColumns = 256;
  static constexpr int64_t kUnpackedElements = 1 << 14;
  static constexpr int64_t kDotMaxRows = 32;
  static constexpr int64_t kDotMinDepth = 2 * Vec<T>::N;
  static constexpr double kTaskFmas = 1 << 20;
  static constexpr int64_t kTasks = 16;
  static constexpr int64_t kPackedTaskRows = 128;
  static constexpr int64_t kSplitDepth = 2048;
};

}  // namespace fastnn::FASTNN_ISA
