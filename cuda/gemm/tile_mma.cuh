// A tile's arithmetic on tensor cores: float32 operands are rounded to tf32, bf16 or fp16 on their way from
// shared memory to registers, and summed in float32.
//
// The stages are those of tile_simt.cuh, k-major and float32, so all operands load alike. What makes reading
// them cheap is that a product does not care in which order its rows, columns and k are numbered. Of every 32
// rows (columns) of a warp, lane group g = lane / 4 takes 4g .. 4g + 3, which is one 16-byte read instead of
// four of 4 bytes: row 4g + 2f + h is what the instruction calls row g + 8h of its operand number f, and
// column 4g + f is column g of operand number f. Along k, lane t = lane % 4 reads rows 2t and 2t + 1 (and 2t
// + 8, 2t + 9 where an instruction covers 16), which it takes for t and t + 4 at tf32. With a pitch of 4 more
// than a multiple of 32 the eight lanes that are served together (four t, two g) start at banks 8t + 4g: no
// conflict. A lane ends up with rows 4g .. 4g + 3 and columns 8t .. 8t + 7 of every 32 x 32.
#pragma once
#include "cuda/common/common.cuh"
#include "cuda/common/ptx.cuh"
#include "cuda/gemm/tile_load.cuh"

namespace fastnn::cuda {

template <Precision P>
struct TensorCore;
template <>
struct TensorCore<Precision::tf32> {
  static constexpr int K = 8;
  // One register of an operand from its elements at k = 2t and 2t + 1; the instruction takes two along k.
  static __device__ void convert(const float (&v)[2], uint32_t (&r)[2]) {
    r[0] = ptx::round_tf32(v[0]), r[1] = ptx::round_tf32(v[1]);
  }
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_tf32(d, a, b);
  }
};
template <>
struct TensorCore<Precision::bf16> {
  static constexpr int K = 16;
  static __device__ void convert(const float (&v)[4], uint32_t (&r)[2]) {
    r[0] = ptx::pack_bf16(v[0], v[1]), r[1] = ptx::pack_bf16(v[2], v[3]);
  }
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_bf16(d, a, b);
  }
};
template <>
struct TensorCore<Precision::fp16> {
  static constexpr int K = 16;
  static __device__ void convert(const float (&v)[4], uint32_t (&r)[2]) {
    r[0] = ptx::pack_fp16(v[0], v[1]), r[1] = ptx::pack_fp16(v[2], v[3]);
  }
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_fp16(d, a, b);
  }
};

// WARPS_M x WARPS_N warps, each with (32 MB) x (32 NB) of C.
template <Precision P, int WARPS_M, int WARPS_N, int MB, int NB, int BLOCKS_>
class MmaTile {
  using Core = TensorCore<P>;

 public:
  static constexpr int BLOCK_M = WARPS_M * 32 * MB, BLOCK_N = WARPS_N * 32 * NB;
  static constexpr int THREADS = WARPS_M * WARPS_N * kWarpSize, BLOCKS = BLOCKS_;

  __device__ MmaTile() {
    const int warp = threadIdx.x / kWarpSize;
    group_ = threadIdx.x % kWarpSize / 4, t_ = threadIdx.x % 4;
    row_ = warp / WARPS_N * 32 * MB, column_ = warp % WARPS_N * 32 * NB;
  }

  __device__ void multiply(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < BLOCK_K; k += Core::K) {
      uint32_t y[NB][4][2];  // [32 columns][which of the lane's four][along k]
#pragma unroll
      for (int n = 0; n < NB; ++n) read<kPitch<float, BLOCK_N>>(y[n], b + column_ + 32 * n, k);
#pragma unroll
      for (int m = 0; m < MB; ++m) {
        uint32_t x[4][2];
        read<kPitch<float, BLOCK_M>>(x, a + row_ + 32 * m, k);
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          const uint32_t rows[4] = {x[2 * f][0], x[2 * f + 1][0], x[2 * f][1], x[2 * f + 1][1]};
#pragma unroll
          for (int n = 0; n < 4 * NB; ++n) Core::multiply(sum_[2 * m + f][n], rows, y[n / 4][n % 4]);
        }
      }
    }
  }

  // Hands this thread's sums to columns(column), a writer of 4 columns; the tile's first row is `first`.
  template <class F>
  __device__ void write(int64_t first, F columns) {
#pragma unroll
    for (int n = 0; n < NB; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto writer = columns(column_ + 32 * n + 8 * t_ + 4 * half);
#pragma unroll
        for (int m = 0; m < 2 * MB; ++m)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float v[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) v[e] = sum_[m][4 * n + e][2 * h + half];
            writer.store(first + row_ + m / 2 * 32 + 4 * group_ + m % 2 * 2 + h, v);
          }
      }
  }

 private:
  // The lane's four rows (columns) of 32, for the k that it holds in an instruction from k on.
  template <int PITCH>
  __device__ void read(uint32_t (&to)[4][2], const float* from, int k) const {
    constexpr int HELD = Core::K / 4;  // k: 2t, 2t + 1, 2t + 8, 2t + 9
    float4 at[HELD];
#pragma unroll
    for (int i = 0; i < HELD; ++i)
      at[i] = *reinterpret_cast<const float4*>(from + (k + 2 * t_ + i % 2 + i / 2 * 8) * PITCH + 4 * group_);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float v[HELD];
#pragma unroll
      for (int i = 0; i < HELD; ++i) v[i] = e == 0 ? at[i].x : e == 1 ? at[i].y : e == 2 ? at[i].z : at[i].w;
      Core::convert(v, to[e]);
    }
  }

  int group_, t_, row_, column_;
  float sum_[2 * MB][4 * NB][4] = {};
};

}  // namespace fastnn::cuda
