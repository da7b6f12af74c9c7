// Everything that is written in PTX: asynchronous copies to shared memory, tensor cores, conversions. Beside
// each stands its twin for the emulator. Kernels that use mma_* and load_matrix_* are launched on capability
// 80 and above only.
#pragma once
#include "cuda/common/common.cuh"
#ifdef FASTNN_EMULATOR
#include "cuda/emulator/ptx.h"
#define FASTNN_SITE , const char *file = __builtin_FILE(), int line = __builtin_LINE()
#else
#define FASTNN_SITE
#endif

#if !defined(FASTNN_EMULATOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define FASTNN_BELOW_AMPERE
#endif
#if !defined(FASTNN_EMULATOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define FASTNN_BELOW_HOPPER
#endif

namespace fastnn::cuda::ptx {

#ifndef FASTNN_EMULATOR
__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

// ---- asynchronous copies. Issue some, commit() them as a group; wait<N>() returns when all but the last N
// groups of this thread are in place. Other threads see them after a barrier that follows.

// Bytes (4, 8 or 16, to which both addresses are aligned) from global to shared memory; zeros when !valid,
// and then `global` is not read.
template <int Bytes>
__device__ inline void copy_async(void* shared, const void* global, bool valid FASTNN_SITE) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async copies 4, 8 or 16 bytes");
#if defined(FASTNN_EMULATOR)
  emulator::copy_async(shared, global, Bytes, valid, {file, line});
#elif defined(FASTNN_BELOW_AMPERE)
  if constexpr (Bytes == 4)
    *static_cast<uint32_t*>(shared) = valid ? *static_cast<const uint32_t*>(global) : 0;
  else if constexpr (Bytes == 8)
    *static_cast<uint2*>(shared) = valid ? *static_cast<const uint2*>(global) : make_uint2(0, 0);
  else
    *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
#else
  const int size = valid ? Bytes : 0;
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(size)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global),
                 "n"(Bytes), "r"(size)
                 : "memory");
#endif
}

__device__ inline void commit() {
#if defined(FASTNN_EMULATOR)
  emulator::commit_copies();
#elif !defined(FASTNN_BELOW_AMPERE)
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int Groups>
__device__ inline void wait() {
#if defined(FASTNN_EMULATOR)
  emulator::wait_copies(Groups);
#elif !defined(FASTNN_BELOW_AMPERE)
  asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
#endif
}

// ---- tensor cores: d (16 x 8) += a (16 x K, row-major) b (K x 8, column-major), by a whole warp, summed in
// float32. With group = lane / 4 and t = lane % 4, a lane holds
//   d[0], d[1]: row group, columns 2t, 2t + 1;  d[2], d[3]: row group + 8
//   K = 8, one element a register:
//     a[0]: (group, t)  a[1]: (group + 8, t)  a[2]: (group, t + 4)  a[3]: (group + 8, t + 4)
//     b[0]: (t, group)  b[1]: (t + 4, group)
//   K = 16, two elements a register, k = 2t in the low half and 2t + 1 in the high one:
//     a[0]: (group, k)  a[1]: (group + 8, k)  a[2]: (group, k + 8)  a[3]: (group + 8, k + 8)
//     b[0]: (k, group)  b[1]: (k + 8, group)
// (PTX ISA, "Matrix Fragments for mma.m16n8k8" and "... for mma.m16n8k16").

#if defined(FASTNN_EMULATOR)
#define FASTNN_MMA(type, instruction) emulator::mma(emulator::MmaType::type, d, a, b, {file, line});
#elif defined(FASTNN_BELOW_AMPERE)
#define FASTNN_MMA(type, instruction) __trap()
#else
#define FASTNN_MMA(type, instruction)                                             \
  asm volatile("mma.sync.aligned." instruction                                    \
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                   \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

// K = 8; operands are float32 whose low 13 bits are ignored: round_tf32() them first.
__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] FASTNN_SITE) {
  FASTNN_MMA(tf32, "m16n8k8.row.col.f32.tf32.tf32.f32");
}
// K = 16.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] FASTNN_SITE) {
  FASTNN_MMA(bf16, "m16n8k16.row.col.f32.bf16.bf16.f32");
}
__device__ inline void mma_fp16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] FASTNN_SITE) {
  FASTNN_MMA(fp16, "m16n8k16.row.col.f32.f16.f16.f32");
}
#undef FASTNN_MMA

// Four 8 x 8 matrices of 16-bit elements. Lane 8 i + j gives the address, a multiple of 16, of row j of
// matrix i in shared memory; r[n] gets the elements (lane / 4, 2 (lane % 4)) and the one beside it of matrix
// n, or of its transpose.
__device__ inline void load_matrix_x4(uint32_t (&r)[4], const void* shared_row FASTNN_SITE) {
#if defined(FASTNN_EMULATOR)
  emulator::load_matrix_x4(r, shared_row, false, {file, line});
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
#endif
}
__device__ inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void* shared_row FASTNN_SITE) {
#if defined(FASTNN_EMULATOR)
  emulator::load_matrix_x4(r, shared_row, true, {file, line});
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
#endif
}

// ---- conversions

// To 10 bits after the point, ties away from zero.
__device__ inline uint32_t round_tf32_away(float v) {
#if defined(FASTNN_EMULATOR)
  return emulator::round_tf32_away(v);
#elif defined(FASTNN_BELOW_AMPERE)
  return __float_as_uint(v);
#else
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
#endif
}
// Ties to even, on capability 90 and above.
__device__ inline uint32_t round_tf32_to_even(float v) {
#if defined(FASTNN_EMULATOR)
  return emulator::round_tf32_to_even(v);
#elif defined(FASTNN_BELOW_HOPPER)
  __trap();
  return __float_as_uint(v);
#else
  uint32_t r;
  asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
#endif
}
// In as few instructions as the device has for it: one to even, where the other way takes Hopper four.
__device__ inline uint32_t round_tf32(float v) {
#if defined(FASTNN_EMULATOR)
  return emulator::rounds_tf32_to_even() ? round_tf32_to_even(v) : round_tf32_away(v);
#elif defined(FASTNN_BELOW_HOPPER)
  return round_tf32_away(v);
#else
  return round_tf32_to_even(v);
#endif
}

// To nearest, ties to even; `low` is the element of the lower address.
__device__ inline uint32_t pack_bf16(float low, float high) {
#if defined(FASTNN_EMULATOR)
  return static_cast<uint32_t>(emulator::round_bf16(high)) << 16 | emulator::round_bf16(low);
#elif defined(FASTNN_BELOW_AMPERE)
  const auto round = [](float v) {
    const uint32_t bits = __float_as_uint(v);
    return v != v ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  };
  return round(high) << 16 | round(low);
#else
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
#endif
}
__device__ inline uint32_t pack_fp16(float low, float high) {
#if defined(FASTNN_EMULATOR)
  return static_cast<uint32_t>(emulator::round_fp16(high)) << 16 | emulator::round_fp16(low);
#else
  uint16_t l, h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(l) : "f"(low));
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(high));
  return static_cast<uint32_t>(h) << 16 | l;
#endif
}

}  // namespace fastnn::cuda::ptx

#undef FASTNN_SITE
#undef FASTNN_BELOW_AMPERE
#undef FASTNN_BELOW_HOPPER
