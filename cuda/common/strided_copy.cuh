// Copies between strided nests of elements, which move as bits: one kernel for all types of a size.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Elements of an operand that kernels have copied to scratch memory at once: few enough that the copy is
// still in the second-level cache when it is read. On the emulator, inputs of tests are more than that.
#ifdef FASTNN_EMULATOR
constexpr int64_t kCopiedElements = 1 << 10;
#else
constexpr int64_t kCopiedElements = 1 << 22;
#endif

// Operand 0 = operand 1, for elements of 1, 2, 4 or 8 bytes; in order on ctx's stream. Needs no workspace.
Status copy_strided(const Context& ctx, int size, const Loop<2>& loop, char* const (&base)[2]);

}  // namespace fastnn::cuda
