// Kernels that show how the emulator works inside: fragments of tensor cores, the order in which threads run,
// and small programs of accesses and barriers, whose races tests/test_emulator.py finds in its own way.
#include "cuda/common/ptx.cuh"
#include "tests/cpp/on_device.h"

namespace fastnn::cuda {
namespace {

// d (32 x 4), a (32 x 4), b (32 x 2): lanes by registers.
__global__ void multiply_fragments(int type, float* d, const uint32_t* a, const uint32_t* b) {
  const int lane = threadIdx.x;
  float sum[4];
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) sum[i] = d[4 * lane + i], left[i] = a[4 * lane + i];
  for (int i = 0; i < 2; ++i) right[i] = b[2 * lane + i];
  if (type == 0)
    ptx::mma_tf32(sum, left, right);
  else if (type == 1)
    ptx::mma_bf16(sum, left, right);
  else
    ptx::mma_fp16(sum, left, right);
  for (int i = 0; i < 4; ++i) d[4 * lane + i] = sum[i];
}

// Four 8 x 8 matrices one after another, as ldmatrix gives them to the lanes: r (32 x 4).
__global__ void load_fragments(bool transposed, uint32_t* r, const uint16_t* x) {
  SharedMemory memory;
  uint16_t* s = memory.take<uint16_t>(256);
  for (int i = 0; i < 8; ++i) s[threadIdx.x * 8 + i] = x[threadIdx.x * 8 + i];
  __syncwarp();
  uint32_t got[4];
  if (transposed)
    ptx::load_matrix_x4_transposed(got, s + threadIdx.x * 8);
  else
    ptx::load_matrix_x4(got, s + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) r[4 * threadIdx.x + i] = got[i];
}

// Conversions of x[i] with x[i + 1] in the upper half.
__global__ void convert(uint32_t* away, uint32_t* to_even, uint32_t* bf16, uint32_t* fp16, const float* x,
                        int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    away[i] = ptx::round_tf32_away(x[i]);
    to_even[i] = ptx::round_tf32_to_even(x[i]);
    bf16[i] = ptx::pack_bf16(x[i], x[(i + 1) % n]);
    fp16[i] = ptx::pack_fp16(x[i], x[(i + 1) % n]);
  }
}

// The threads of all blocks in the order in which they come by, twice.
__global__ void take_tickets(int* order, int* next) {
  const int me = blockIdx.x * blockDim.x + threadIdx.x;
  for (int i = 0; i < 2; ++i) {
    order[atomicAdd(next, 1)] = me;
    __syncthreads();
  }
}

enum Operation { kNothing, kRead, kWrite, kAtomic, kReadWord, kWriteWord };

__device__ int perform(int operation, int at, unsigned char* cells) {
  int* word = reinterpret_cast<int*>(cells) + at / 4;
  switch (operation) {
    case kRead:
      return cells[at];
    case kWrite:
      cells[at] = 1;
      break;
    case kAtomic:
      return atomicAdd(word, 1);
    case kReadWord:
      return *word;
    case kWriteWord:
      *word = 1;
  }
  return 0;
}

// program (blocks x rounds x threads x {operation, cell}); barriers (rounds): what follows a round, 1 for
// __syncwarp, 2 for __syncthreads.
__global__ void interpret(const int* program, const int* barriers, int rounds, unsigned char* global,
                          int cells, bool in_shared, int* sink) {
  SharedMemory memory;
  unsigned char* shared = memory.take<unsigned char>(static_cast<size_t>(cells));
  const int t = threadIdx.x;
  for (int i = t; i < cells; i += blockDim.x) shared[i] = 0;
  __syncthreads();
  int sum = 0;
  for (int round = 0; round < rounds; ++round) {
    const int* mine = program + 2 * ((blockIdx.x * rounds + round) * blockDim.x + t);
    sum += perform(mine[0], mine[1], in_shared ? shared : global);
    if (barriers[round] == 1) __syncwarp();
    if (barriers[round] == 2) __syncthreads();
  }
  sink[blockIdx.x * blockDim.x + t] = sum;
}

}  // namespace
}  // namespace fastnn::cuda

using namespace fastnn;
using namespace fastnn::cuda;

EXPORT bool emulator_probe_mma(int type, float* d, uint32_t* a, uint32_t* b) {
  const OnDevice on_d(d, 512), on_a(a, 512), on_b(b, 256);
  return launch<multiply_fragments>(Context{}, 1, 32, 0, type, on_d.as<float>(), on_a.as<uint32_t>(),
                                    on_b.as<uint32_t>()) == Status::ok;
}
EXPORT bool emulator_probe_load(bool transposed, uint32_t* r, uint16_t* x) {
  const OnDevice on_r(r, 512), on_x(x, 512);
  return launch<load_fragments>(Context{}, 1, 32, SharedMemory::bytes<uint16_t>(256), transposed,
                                on_r.as<uint32_t>(), on_x.as<uint16_t>()) == Status::ok;
}
EXPORT bool emulator_probe_convert(uint32_t* away, uint32_t* to_even, uint32_t* bf16, uint32_t* fp16,
                                   float* x, int n) {
  const size_t bytes = 4 * static_cast<size_t>(n);
  const OnDevice on_away(away, bytes), on_even(to_even, bytes), on_bf16(bf16, bytes), on_fp16(fp16, bytes),
      on_x(x, bytes);
  return launch<convert>(Context{}, 1, 64, 0, on_away.as<uint32_t>(), on_even.as<uint32_t>(),
                         on_bf16.as<uint32_t>(), on_fp16.as<uint32_t>(), on_x.as<float>(), n) == Status::ok;
}
EXPORT bool emulator_probe_order(int blocks, int threads, int* order) {
  int next = 0;
  const OnDevice on_order(order, sizeof(int) * 2 * static_cast<size_t>(blocks * threads)),
      on_next(&next, sizeof next);
  return launch<take_tickets>(Context{}, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0,
                              on_order.as<int>(), on_next.as<int>()) == Status::ok;
}
EXPORT bool emulator_probe_program(int blocks, int threads, int rounds, int cells, bool in_shared,
                                   int* program, int* barriers) {
  const auto count = static_cast<size_t>(blocks * threads);
  const OnDevice on_program(program, 8 * count * static_cast<size_t>(rounds)),
      on_barriers(barriers, 4 * static_cast<size_t>(rounds));
  int* sink = static_cast<int*>(emulator::allocate(0, 4 * count));
  auto* global = static_cast<unsigned char*>(emulator::allocate(0, static_cast<size_t>(cells)));
  const unsigned char zeros[64] = {};
  emulator::copy(global, 0, zeros, -1, static_cast<size_t>(cells));
  const Status status =
      launch<interpret>(Context{}, static_cast<unsigned>(blocks), static_cast<unsigned>(threads),
                        SharedMemory::bytes<unsigned char>(static_cast<size_t>(cells)), on_program.as<int>(),
                        on_barriers.as<int>(), rounds, global, cells, in_shared, sink);
  emulator::release(0, sink);
  emulator::release(0, global);
  return status == Status::ok;
}
