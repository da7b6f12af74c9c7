// Kernels with a mistake each, chosen by a template argument, and the same kernels without it.
#pragma once
#include <string.h>

#include <vector>

#include "cuda/common/ptx.cuh"

namespace fastnn::cuda {

constexpr int kThreads = 128;
using Ints = std::vector<int>;

// ---- barriers

template <bool good>
__global__ void reverse_block(int* y, const int* x) {
  SharedMemory memory;
  int* s = memory.take<int>(kThreads);
  const int t = threadIdx.x;
  s[t] = x[t];
  if (good) __syncthreads();
  y[t] = s[kThreads - 1 - t];
}
template <bool good>
__global__ void reverse_warp(int* y, const int* x) {
  SharedMemory memory;
  int* s = memory.take<int>(32);
  const int t = threadIdx.x;
  s[t] = x[t];
  if (good) __syncwarp();
  y[t] = s[31 - t];
}
template <bool good>  // two warps: a warp's barrier is not the block's
__global__ void reverse_two_warps(int* y, const int* x) {
  SharedMemory memory;
  int* s = memory.take<int>(64);
  const int t = threadIdx.x;
  s[t] = x[t];
  if (good)
    __syncthreads();
  else
    __syncwarp();
  y[t] = s[63 - t];
}
template <bool good>  // the barrier between reading and writing again
__global__ void rotate_in_place(int* y) {
  SharedMemory memory;
  int* s = memory.take<int>(kThreads);
  const int t = threadIdx.x;
  s[t] = y[t];
  __syncthreads();
  const int v = s[(t + 1) % kThreads];
  if (good) __syncthreads();
  s[t] = v;
  __syncthreads();
  y[t] = s[t];
}
template <int mistake>
__global__ void barriers(int* y) {
  const int t = threadIdx.x;
  if (mistake == 1 && t >= 64) return;
  if (mistake == 2 && t >= 64)
    __syncthreads();
  else
    __syncthreads();
  if (mistake != 3 || t % 2) __syncthreads();
  y[t] = __syncthreads_count(t % 4 == 0) + __syncthreads_or(t == 3) + __syncthreads_and(t < kThreads);
}

// ---- the warp

template <int mistake>
__global__ void shuffles(int* y) {
  const int t = threadIdx.x;
  int v = t;
  if (mistake == 1) {
    if (t < 16) v = __shfl_xor_sync(kFullWarp, v, 1);
  } else if (mistake == 2) {
    if (t < 16)
      v = __shfl_xor_sync(kFullWarp, v, 1);
    else
      v = __shfl_xor_sync(kFullWarp, v, 1);
  } else if (mistake == 3) {
    if (t < 16) v = __shfl_sync(0xffffu, v, 16 + t);
  } else if (mistake == 4) {
    v = __shfl_sync(0xffffu, v, 0);
  } else if (mistake == 5) {
    if (t) __syncwarp();
  } else if (mistake == 6) {
    if (t == 9) return;
    v = __ballot_sync(kFullWarp, v) != 0;
  } else {
    v = __shfl_xor_sync(kFullWarp, v, 1) + 100 * __shfl_up_sync(kFullWarp, v, 1) +
        10000 * (t < 16 ? __shfl_down_sync(0xffffu, v, 3, 4) : 0);
    v += __any_sync(kFullWarp, t == 7) + __all_sync(kFullWarp, t < 32) -
         __popc(__ballot_sync(kFullWarp, t < 2));
  }
  y[t] = v;
}
Ints shuffled() {
  Ints v(32);
  for (int t = 0; t < 32; ++t)
    v[size_t(t)] = (t ^ 1) + 100 * (t ? t - 1 : 0) + 10000 * (t < 16 ? (t % 4 ? t : t + 3) : 0);
  return v;
}

// ---- bounds

template <class T, bool write>
__global__ void touch_shared(int* y, int at) {
  SharedMemory memory;
  T* before = memory.take<T>(33);
  T* s = memory.take<T>(33);
  T* after = memory.take<T>(33);
  for (int i = 0; i < 33; ++i) before[i] = s[i] = after[i] = T(i);
  if (write) s[at] = T(1);
  y[0] = write ? 1 : int(s[at]);
}
template <class T, bool write>
__global__ void touch_global(int* y, T* x, int at) {
  if (write) x[at] = T(1);
  y[0] = write ? 1 : x[at] != T(2);
}
struct Many {
  int v[11];
};
__global__ void touch_struct(int* y, const Many* x) {
  const Many m = *x;
  int sum = 0;
  for (int v : m.v) sum += v;
  y[0] = sum;
}
__global__ void touch_memcpy(int* y, const int* x, int n) { memcpy(y, x, size_t(n) * 4); }
template <bool good>
__global__ void sum_shared(int* y) {
  SharedMemory memory;
  int* s = memory.take<int>(kThreads);
  if (good || threadIdx.x != 77) s[threadIdx.x] = 1;
  __syncthreads();
  int sum = 0;
  if (threadIdx.x == 0)
    for (int i = 0; i < kThreads; ++i) sum += s[i];
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}
__constant__ int constants[4] = {2, 3, 5, 7};
__global__ void look_up(int* y) {
  const int* table = constants;
  y[threadIdx.x] = table[threadIdx.x];
}
__global__ void follow(int* y, const int* p) { *y = *p; }
__global__ void load_float4(float4* y, const float* x) { *y = *reinterpret_cast<const float4*>(x); }
template <bool good>
__global__ void lend_local(int* y) {
  SharedMemory memory;
  int** s = memory.take<int*>(1);
  int mine = threadIdx.x;
  if (threadIdx.x == 0) s[0] = &mine;
  __syncthreads();
  y[threadIdx.x] = good || threadIdx.x == 0 ? mine : *s[0];
}
__global__ void take_more(int* y, int n) {
  SharedMemory memory;
  int* s = memory.take<int>(static_cast<size_t>(n));
  s[0] = 1;
  *y = s[0];
}

// ---- operands: x is read, y is written, s is both

enum OperandMistake { kAsTold, kWriteRead, kAtomicOnRead, kReadWritten, kBeyond, kNeighbour };
template <int mistake>
__global__ void touch_operands(int* y, int* x, int* s, int n) {
  const int t = threadIdx.x;
  if (mistake == kWriteRead) x[t] = 1;
  if (mistake == kAtomicOnRead) atomicAdd(x + t, 1);
  if (mistake == kReadWritten) s[t] += y[t];
  y[t] = x[t];
  __syncthreads();
  s[t] += y[n - 1 - t];  // y may be read now: the kernel has written it
  if (mistake == kBeyond) y[t] = x[n + t];
  if (mistake == kNeighbour) y[n + t] = 1;
}

// ---- arithmetic that C++ leaves undefined

enum ArithmeticMistake { kRight, kIndex, kShift, kDivision };
template <int mistake>
__global__ void arithmetic(int* y, int n) {
  int local[4] = {1, 2, 3, 4};
  local[n & 3] += 1;
  y[0] = local[mistake == kIndex ? n + 1 : n] + (1 << (mistake == kShift ? n + 29 : n)) +
         12 / (mistake == kDivision ? n - 3 : n);
}

// ---- blocks, atomics

template <int mistake>
__global__ void blocks(int* y) {
  const int i = blockIdx.x;
  if (mistake == 1) y[0] = 1;
  if (mistake == 2) y[i] = y[i ^ 1] + 1;
  if (mistake == 3) atomicAdd(y, 1), y[0] += 1;
  if (mistake == 0) y[i] = i;
}
__global__ void count(int* y, unsigned* bits, int* largest) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(y, 1);
  atomicOr(bits, 1u << i % 32);
  atomicMax(largest, i);
}
template <bool good>
__global__ void hand_over(int* y, int* flag) {
  if (good && threadIdx.x == 1) atomicExch(flag, 1);
  if (threadIdx.x == 0)
    while (atomicAdd(flag, 0) == 0) {
    }
  __syncthreads();
  if (!good && threadIdx.x == 1) atomicExch(flag, 1);
  y[threadIdx.x] = 1;
}

// Every block leaves two numbers, the last one adds up all. `told`: one of each block, to pass the news by an
// atomic access in place of a barrier.
enum LastBlockMistake { kInOrder, kNoBarrierBefore, kNoRelease, kNoAcquire, kNoBarrierBehind };
template <int mistake>
__global__ void sum_in_last_block(int* y, int* part, unsigned* ticket, int* told) {
  const int t = threadIdx.x, block = blockIdx.x;
  part[2 * block + t] = block + 1;
  if (mistake != kNoBarrierBefore) __syncthreads();
  bool last = false;
  if (t == 0) {
    if (mistake != kNoRelease) __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    if (last && mistake != kNoAcquire) __threadfence();
    if (mistake == kNoBarrierBehind) atomicExch(told + block, last ? 2 : 1);
  }
  if (mistake == kNoBarrierBehind) {
    int news = 0;
    while (news == 0) news = atomicAdd(told + block, 0);
    last = news == 2;
  } else {
    last = __syncthreads_or(last) != 0;
  }
  if (!last) return;
  int sum = 0;
  for (int i = t; i < 2 * static_cast<int>(gridDim.x); i += 2) sum += __ldcg(part + i);
  y[t] = sum;
}

// ---- asynchronous copies

enum StageMistake { kNone, kNoWait, kNoBarrier, kNoCommit, kSource, kStore, kOneGroupLess, kUnaligned };
template <int mistake>
__global__ void stage(int* y, const int* x) {
  SharedMemory memory;
  int* s = memory.take<int>(4 * kThreads);
  int* more = memory.take<int>(kThreads);
  const int t = threadIdx.x;
  ptx::copy_async<16>(s + 4 * t,
                      x + 4 * t +
                          (mistake == kSource      ? 4
                           : mistake == kUnaligned ? 1
                                                   : 0),
                      t != 3);
  if (mistake != kNoCommit) ptx::commit();
  ptx::copy_async<4>(more + t, x + t, true);
  ptx::commit();
  if (mistake == kStore) s[4 * t] = 0;
  if (mistake == kOneGroupLess || mistake == kNoCommit)
    ptx::wait<1>();
  else if (mistake != kNoWait)
    ptx::wait<0>();
  if (mistake != kNoBarrier) __syncthreads();
  const int from = kThreads - 1 - t;
  y[t] = s[4 * from + 1] + more[from];
}
Ints staged() {
  Ints v(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    const int from = kThreads - 1 - t;
    v[size_t(t)] = (from == 3 ? 0 : 4 * from + 1) + from;
  }
  return v;
}
template <bool good>
__global__ void multiply(int* y) {
  float d[4] = {1, 2, 3, 4};
  const uint32_t a[4] = {}, b[2] = {};
  if (good || threadIdx.x != 5) ptx::mma_bf16(d, a, b);
  y[threadIdx.x] = int(d[3]);
}
template <bool good>
__global__ void load_matrices(int* y) {
  SharedMemory memory;
  uint16_t* s = memory.take<uint16_t>(256 + 8);
  for (int i = 0; i < 8; ++i) s[threadIdx.x * 8 + i] = uint16_t(threadIdx.x);
  __syncwarp();
  uint32_t r[4];
  ptx::load_matrix_x4(r, s + 8 * threadIdx.x + (good ? 0 : 4));
  y[threadIdx.x] = int(r[1] & 0xffff);
}

}  // namespace fastnn::cuda
