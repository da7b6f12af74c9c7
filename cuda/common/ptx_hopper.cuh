// What Hopper (sm_90a) has beyond ptx.cuh: barriers that count bytes, copies of boxes of tensors, products of
// a warpgroup. Included only by sources that are compiled for that architecture alone; there are no twins for
// the emulator yet. cuda/probe writes down what these do on hardware, for the twins to be held against.
#pragma once
#include "cuda/common/ptx.cuh"

namespace fastnn::cuda::ptx {

// ---- barriers in shared memory (mbarrier)

__device__ inline void init_barrier(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// One arrival, and that many bytes of asynchronous copies to come.
__device__ inline void arrive_expecting(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
// Whether the phase of that parity is over; waits a while that the hardware chooses.
__device__ inline bool try_wait(uint64_t* barrier, unsigned parity) {
  unsigned over;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(over)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return over != 0;
}
// Ordinary writes to shared memory before this are seen by the units that copy and multiply.
__device__ inline void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- boxes of tensors (TMA). `map` is a CUtensorMap in a __grid_constant__ parameter; coordinates are in
// elements, innermost first. The barrier gets the bytes of the whole box, also of what lies outside.

__device__ inline void load_box_2d(void* shared, const void* map, uint64_t* barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
}
// Pixels of N H W C images as rows of im2col, shifted by (dw, dh) within the filter.
__device__ inline void load_pixels(void* shared, const void* map, uint64_t* barrier, int c, int w, int h,
                                   int n, uint16_t dw, uint16_t dh) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n), "h"(dw), "h"(dh)
      : "memory");
}
// Returns when the box has been written.
__device__ inline void store_box_2d(const void* map, const void* shared, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
               "r"(shared_address(shared)), "r"(x), "r"(y)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// ---- ldmatrix the other way round: lane 8 i + j gives the address of row j of matrix i

__device__ inline void store_matrix_x4(void* shared_row, const uint32_t (&r)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(shared_row)),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
      : "memory");
}
__device__ inline void store_matrix_x4_transposed(void* shared_row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   shared_address(shared_row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// ---- products of a warpgroup (wgmma): d (64 x N) += a (64 x K) b (K x N), operands in shared memory told by
// descriptors, or a in registers. Issue between begin_products() and end_products().

// How rows of 16 bytes are permuted in shared memory: in lines of 32, 64 or 128 bytes, or not.
enum class Swizzle : unsigned { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

// PTX ISA, "Matrix Descriptor Format": start address, leading and stride dimension byte offsets, swizzle.
__device__ inline uint64_t matrix_descriptor(const void* shared, unsigned leading, unsigned stride,
                                             Swizzle swizzle) {
  const auto field = [](unsigned bytes) { return uint64_t{(bytes & 0x3ffffu) >> 4}; };
  return field(shared_address(shared)) | field(leading) << 16 | field(stride) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

// Reads and writes of d stay on their side of this: the compiler does not know that products are still on
// their way.
template <int N>
__device__ inline void hold(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N>
__device__ inline void begin_products(float (&d)[N]) {
  hold(d);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
template <int N>
__device__ inline void end_products(float (&d)[N]) {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  hold(d);
}

#define FASTNN_4(x, i) x(i), x(i + 1), x(i + 2), x(i + 3)
#define FASTNN_32(x)                                                                                 \
  FASTNN_4(x, 0), FASTNN_4(x, 4), FASTNN_4(x, 8), FASTNN_4(x, 12), FASTNN_4(x, 16), FASTNN_4(x, 20), \
      FASTNN_4(x, 24), FASTNN_4(x, 28)
#define FASTNN_SUM(i) "+f"(d[i])
#define FASTNN_LEFT(a) "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
#define FASTNN_32_REGISTERS                                                                               \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"

// bf16 (K = 16), either operand along k (0) or across it (1); tf32 (K = 8), along k only.
template <int AcrossA>
__device__ inline void multiply_bf16_n8(float (&d)[4], uint64_t a, uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, %6, 0;"
               : FASTNN_4(FASTNN_SUM, 0)
               : "l"(a), "l"(b), "n"(AcrossA));
}
__device__ inline void multiply_bf16_n8(float (&d)[4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, 1, 1, 1, "
      "0;"
      : FASTNN_4(FASTNN_SUM, 0)
      : FASTNN_LEFT(a), "l"(b));
}
template <int AcrossB>
__device__ inline void multiply_bf16_n64(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " FASTNN_32_REGISTERS
               ", {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"
               : FASTNN_32(FASTNN_SUM)
               : FASTNN_LEFT(a), "l"(b), "n"(AcrossB));
}
__device__ inline void multiply_tf32_n8(float (&d)[4], uint64_t a, uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%0, %1, %2, %3}, %4, %5, 1, 1, 1;"
               : FASTNN_4(FASTNN_SUM, 0)
               : "l"(a), "l"(b));
}
__device__ inline void multiply_tf32_n8(float (&d)[4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, 1, 1, 1;"
      : FASTNN_4(FASTNN_SUM, 0)
      : FASTNN_LEFT(a), "l"(b));
}
__device__ inline void multiply_tf32_n64(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 " FASTNN_32_REGISTERS
               ", {%32, %33, %34, %35}, %36, 1, 1, 1;"
               : FASTNN_32(FASTNN_SUM)
               : FASTNN_LEFT(a), "l"(b));
}

#undef FASTNN_4
#undef FASTNN_32
#undef FASTNN_SUM
#undef FASTNN_LEFT
#undef FASTNN_32_REGISTERS

}  // namespace fastnn::cuda::ptx
