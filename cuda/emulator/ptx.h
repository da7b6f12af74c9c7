// The twins of what ptx.cuh does in PTX.
#pragma once
#include "cuda/emulator/builtins.h"

namespace fastnn::emulator {

void copy_async(void* shared, const void* global, unsigned bytes, bool valid, Site site);
void commit_copies();
void wait_copies(unsigned groups);

// D (16 x 8) += A (16 x k) B (k x 8) of a warp, each lane holding its fragments.
enum class MmaType { tf32, bf16, fp16 };
void mma(MmaType type, float* d, const uint32_t* a, const uint32_t* b, Site site);
void load_matrix_x4(uint32_t* r, const void* row, bool transposed, Site site);

uint32_t round_tf32_away(float v);
uint32_t round_tf32_to_even(float v);
bool rounds_tf32_to_even();  // the device, where it is left the choice
uint16_t round_bf16(float v);
uint16_t round_fp16(float v);

}  // namespace fastnn::emulator
