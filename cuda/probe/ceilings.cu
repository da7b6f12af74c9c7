// What a device gives at best: bytes of a copy, multiply-adds of ordinary units and of mma.sync, launches.
#include "cuda/common/ptx.cuh"
#include "cuda/probe/probe.cuh"

namespace fastnn::cuda::probe {
namespace {

constexpr int kThreads = 256;

// As a kernel that is bound by memory is written: 16 bytes a thread, four in flight.
__global__ void __launch_bounds__(kThreads) copy_vectors(uint4* to, const uint4* from, size_t count) {
  constexpr int kFlight = 4;
  const size_t step = size_t{gridDim.x} * blockDim.x;
  size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + (kFlight - 1) * step < count; i += kFlight * step) {
    uint4 v[kFlight];
#pragma unroll
    for (int f = 0; f < kFlight; ++f) v[f] = from[i + f * step];
#pragma unroll
    for (int f = 0; f < kFlight; ++f) to[i + f * step] = v[f];
  }
  for (; i < count; i += step) to[i] = from[i];
}

constexpr int kSums = 16;

__global__ void __launch_bounds__(kThreads) multiply_add(float* out, int rounds) {
  float sum[kSums];
#pragma unroll
  for (int i = 0; i < kSums; ++i) sum[i] = static_cast<float>(threadIdx.x + i);
  const float a = 1.0f + static_cast<float>(blockIdx.x) * 0x1p-20f,
              b = static_cast<float>(threadIdx.x) * 0x1p-10f;
#pragma unroll 8
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum[i] = fmaf(sum[i], a, b);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kSums; ++i) total += sum[i];
  if (total == 12345.678f) out[0] = total;  // never: it keeps the compiler from leaving all this out
}

template <int per>  // elements of a register: 1, tf32; 2, bf16
__global__ void __launch_bounds__(kThreads) multiply_matrices(float* out, int rounds) {
  constexpr int kTiles = 8;
  float d[kTiles][4] = {};
  const uint32_t one = per == 1 ? 0x3f800000u : 0x3f803f80u, v = one + (threadIdx.x % 2 << 16);
  const uint32_t a[4] = {v, one, v, one}, b[2] = {one, v};
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      if constexpr (per == 1)
        ptx::mma_tf32(d[i], a, b);
      else
        ptx::mma_bf16(d[i], a, b);
    }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) total += d[i][0] + d[i][3];
  if (total == 12345.678f) out[0] = total;
}

__global__ void nothing() {}

template <auto Kernel, class... Args>
void queue(int repeats, int blocks, int threads, const Args&... args) {
  for (int i = 0; i < repeats; ++i)
    launch<Kernel>(Context{}, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0,
                   args...);
}

// 2,000 on a GPU; the emulator is 10,000 times slower.
int rounds_for(size_t bytes) { return bytes < (1 << 20) ? 4 : 2000; }

}  // namespace

void add_ceilings(Ceilings& all) {
  all.push_back({"copy", "byte/s", [](int blocks, int repeats, void* memory, size_t bytes) {
                   const size_t half = bytes / 2;
                   queue<copy_vectors>(repeats, blocks, kThreads, reinterpret_cast<uint4*>(memory),
                                       reinterpret_cast<const uint4*>(static_cast<char*>(memory) + half),
                                       half / sizeof(uint4));
                   return 2.0 * static_cast<double>(half);
                 }});
  all.push_back({"fp32 multiply-adds", "flop/s", [](int blocks, int repeats, void* memory, size_t bytes) {
                   const int rounds = rounds_for(bytes);
                   queue<multiply_add>(repeats, blocks, kThreads, static_cast<float*>(memory), rounds);
                   return 2.0 * kSums * rounds * blocks * kThreads;
                 }});
  all.push_back({"mma.sync tf32", "flop/s", [](int blocks, int repeats, void* memory, size_t bytes) {
                   const int rounds = rounds_for(bytes) / 2;
                   queue<multiply_matrices<1>>(repeats, blocks, kThreads, static_cast<float*>(memory),
                                               rounds);
                   return 2.0 * 16 * 8 * 8 * 8 * rounds * blocks * (kThreads / 32);
                 }});
  all.push_back({"mma.sync bf16", "flop/s", [](int blocks, int repeats, void* memory, size_t bytes) {
                   const int rounds = rounds_for(bytes) / 2;
                   queue<multiply_matrices<2>>(repeats, blocks, kThreads, static_cast<float*>(memory),
                                               rounds);
                   return 2.0 * 16 * 8 * 16 * 8 * rounds * blocks * (kThreads / 32);
                 }});
  all.push_back({"launches", "launch/s", [](int, int repeats, void*, size_t) {
                   queue<nothing>(repeats, 1, 32);
                   return 1.0;
                 }});
}

}  // namespace fastnn::cuda::probe
