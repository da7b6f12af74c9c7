// A tile's arithmetic on the ordinary units, for float and double.
//
// A warp owns 4 TM x 8 TN of the tile: its lanes form a grid of 4 x 8, and each takes TM x TN elements in
// 16-byte pieces that lie 4 (rows) or 8 (columns) pieces apart. Per k a thread reads TM + TN elements and
// does TM * TN multiply-adds: at 16 x 8 floats 6 reads of 16 bytes for 128, of which the reads take at most
// three quarters of the time even if none were a broadcast. Lanes are numbered so that 16 of them read 2
// pieces of A and 8 of B, 128 bytes next to each other: no conflicts.
#pragma once
#include "cuda/common/common.cuh"
#include "cuda/gemm/tile_load.cuh"

namespace fastnn::cuda {

// C's tile is made of WARPS_M x WARPS_N warps. BLOCKS: how many blocks a multiprocessor should hold, which
// limits the registers.
template <class T, int WARPS_M, int WARPS_N, int TM, int TN, int BLOCKS_>
class SimtTile {
  static constexpr int V = kVector<T>, LANES_M = 4, LANES_N = 8;

 public:
  static constexpr int BLOCK_M = WARPS_M * LANES_M * TM, BLOCK_N = WARPS_N * LANES_N * TN;
  static constexpr int THREADS = WARPS_M * WARPS_N * kWarpSize, BLOCKS = BLOCKS_;

  __device__ SimtTile() {
    const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
    row_ = warp / WARPS_N * LANES_M * TM + (lane % 2 + lane / 16 * 2) * V;
    column_ = warp % WARPS_N * LANES_N * TN + lane / 2 % 8 * V;
  }

  // Adds the product of a stage: rows k of a and b, in order of k. The next k is read while this one is
  // multiplied.
  __device__ void multiply(const T* a, const T* b) {
    T x[2][TM], y[2][TN];
    read<TM, LANES_M, kPitch<T, BLOCK_M>>(x[0], a + row_, 0);
    read<TN, LANES_N, kPitch<T, BLOCK_N>>(y[0], b + column_, 0);
#pragma unroll
    for (int k = 0; k < BLOCK_K; ++k) {
      if (k + 1 < BLOCK_K) {
        read<TM, LANES_M, kPitch<T, BLOCK_M>>(x[(k + 1) % 2], a + row_, k + 1);
        read<TN, LANES_N, kPitch<T, BLOCK_N>>(y[(k + 1) % 2], b + column_, k + 1);
      }
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum_[i][j] = fma(x[k % 2][i], y[k % 2][j], sum_[i][j]);
    }
  }

  // Hands this thread's sums to columns(column), a writer of kVector columns; the tile's first row is
  // `first`.
  template <class F>
  __device__ void write(int64_t first, F columns) {
#pragma unroll
    for (int j = 0; j < TN; j += V) {
      const auto writer = columns(column_ + j * LANES_N);
#pragma unroll
      for (int i = 0; i < TM; ++i) {
        T v[V];
#pragma unroll
        for (int e = 0; e < V; ++e) v[e] = sum_[i][j + e];
        writer.store(first + row_ + i / V * LANES_M * V + i % V, v);
      }
    }
  }

 private:
  template <int COUNT, int LANES, int PITCH>
  static __device__ void read(T (&to)[COUNT], const T* from, int k) {
#pragma unroll
    for (int c = 0; c < COUNT; c += V) {
      const auto piece = Vector<T>::load(from + k * PITCH + c * LANES);
#pragma unroll
      for (int e = 0; e < V; ++e) to[c + e] = piece.v[e];
    }
  }

  int row_, column_;
  T sum_[TM][TN] = {};
};

}  // namespace fastnn::cuda
