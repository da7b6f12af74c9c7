// What every CUDA kernel file stands on: launching, shared memory, and sums over a warp and a block. Compiled
// by nvcc for a GPU, and by a plain C++ compiler for the emulator, which offers the same names on the CPU. So
// kernels launch only through launch(), take shared memory only from SharedMemory, and leave inline PTX to
// ptx.cuh.
#pragma once
#ifdef FASTNN_EMULATOR
#include "cuda/emulator/emulator.h"
#else
#include <cuda_runtime.h>
#endif

#include <string.h>

#include <atomic>
#include <concepts>
#include <type_traits>

#include "backend/backend.h"
#include "backend/integers.h"

namespace fastnn::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double>;
template <class T>
concept Integral = std::same_as<T, uint8_t> || std::same_as<T, int32_t> || std::same_as<T, int64_t>;

// The unsigned integer of T's size.
template <class T>
using Unsigned = std::conditional_t<
    sizeof(T) == 1, uint8_t,
    std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;
// T in memory: a bool is a byte, 0 or 1.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

template <class To, class From>
__host__ __device__ inline To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}

// The block's dynamic shared memory, handed out piece by piece. Every thread of a block asks for the same
// pieces in the same order; the host passes launch() the sum of their bytes().
class SharedMemory {
 public:
  static constexpr unsigned kAlign = 128;

  template <class T>
  __host__ __device__ static constexpr size_t bytes(size_t count) {
    return ceil_div<size_t>(count * sizeof(T), kAlign) * kAlign;
  }
  template <class T>
  __device__ T* take(size_t count) {
#ifdef FASTNN_EMULATOR
    return static_cast<T*>(emulator::take_shared(&offset_, bytes<T>(count), count * sizeof(T)));
#else
    extern __shared__ __align__(128) unsigned char arena[];
    T* piece = reinterpret_cast<T*>(arena + offset_);
    offset_ += static_cast<unsigned>(bytes<T>(count));
    return piece;
#endif
  }

 private:
  unsigned offset_ = 0;
};

// Runs Kernel(args...) on ctx's stream: grid x block threads with `shared` bytes of dynamic shared memory. A
// grid without blocks is no work.
template <auto Kernel, class... Args>
Status launch(const Context& ctx, dim3 grid, dim3 block, size_t shared, const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return Status::ok;
#ifdef FASTNN_EMULATOR
  return emulator::run(__PRETTY_FUNCTION__, ctx.device, grid, block, shared,
                       [&]() FASTNN_EMULATOR_ENTRY { Kernel(args...); })
             ? Status::ok
             : Status::device_error;
#else
  // Beyond 48 KiB a kernel must be told first, on each device.
  static std::atomic<size_t> told[kMaxDevices];
  if (shared > 48 * 1024 && shared > told[ctx.device].load(std::memory_order_relaxed)) {
    if (cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)) !=
        cudaSuccess)
      return Status::device_error;
    told[ctx.device].store(shared, std::memory_order_relaxed);
  }
  const cudaStream_t stream = static_cast<cudaStream_t>(ctx.stream);
  // clang-format off
  Kernel<<<grid, block, shared, stream>>>(args...);
  // clang-format on
  return cudaPeekAtLastError() == cudaSuccess ? Status::ok : Status::device_error;
#endif
}

// ---- a warp's and a block's combination of one value per thread, in a fixed order. `combine` is associative
// only up to rounding, so the tree is part of the result.

template <class T, class F>
__device__ T warp_reduce(T v, F combine) {  // every lane gets the result
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    v = combine(v, __shfl_xor_sync(kFullWarp, v, distance));
  return v;
}

// Over the whole block, a multiple of 32 threads; every thread gets the result. `scratch` holds 32 elements
// in shared memory and may be used again at once.
template <class T, class F>
__device__ T block_reduce(T v, F combine, T identity, T* scratch) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, warps = blockDim.x / kWarpSize;
  v = warp_reduce(v, combine);
  if (warps == 1) return v;
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  v = warp_reduce(lane < warps ? scratch[lane] : identity, combine);
  __syncthreads();
  return v;
}

// Division by a number known on the host, as a multiplication; for dividends and divisors below 2^31
// (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
struct FastDivide {
  unsigned divisor = 1, multiplier = 0, shift = 0;

  FastDivide() = default;
  __host__ explicit FastDivide(unsigned d) : divisor(d) {
    while ((1ull << shift) < d) ++shift;
    multiplier = static_cast<unsigned>(((1ull << 32) * ((1ull << shift) - d)) / d + 1);
  }
  __device__ unsigned quotient(unsigned n) const {
    return static_cast<unsigned>((static_cast<unsigned long long>(n) * multiplier >> 32) + n) >> shift;
  }
};

}  // namespace fastnn::cuda
