// wgmma: in which registers and where in shared memory its operands lie, by descriptor, swizzle and
// direction. Compiled for sm_90a alone.
#include "cuda/probe/hopper.cuh"

namespace fastnn::cuda::probe {
namespace {

using ptx::Swizzle;

constexpr unsigned kOperandBytes = 32768;  // of shared memory that an operand may be read from

struct Bf16 {
  using Element = uint16_t;
  static constexpr int K = 16, kPer = 2;
  static __device__ uint16_t element(float v) { return static_cast<uint16_t>(ptx::pack_bf16(v, v)); }
  static __device__ uint32_t pack(float low, float high) { return ptx::pack_bf16(low, high); }
};
struct Tf32 {
  using Element = uint32_t;
  static constexpr int K = 8, kPer = 1;
  static __device__ uint32_t element(float v) { return __float_as_uint(v); }
  static __device__ uint32_t pack(float low, float) { return __float_as_uint(low); }
};

template <class Type, int Across>
__device__ void multiply_n8(float (&d)[4], uint64_t a, uint64_t b) {
  if constexpr (Type::K == 16)
    ptx::multiply_bf16_n8<Across>(d, a, b);
  else
    ptx::multiply_tf32_n8(d, a, b);
}
template <class Type>
__device__ void multiply_n8(float (&d)[4], const uint32_t (&a)[4], uint64_t b) {
  if constexpr (Type::K == 16)
    ptx::multiply_bf16_n8(d, a, b);
  else
    ptx::multiply_tf32_n8(d, a, b);
}
template <class Type, int Across>
__device__ void multiply_n64(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
  if constexpr (Type::K == 16)
    ptx::multiply_bf16_n64<Across>(d, a, b);
  else
    ptx::multiply_tf32_n64(d, a, b);
}

constexpr size_t kSharedBytes = SharedMemory::bytes<unsigned char>(kOperandBytes + kAlign) +
                                SharedMemory::bytes<unsigned char>(512 + kAlign);

// Half of the identity as B (K x 8) without swizzle, along k: two pieces of 8 x 16 bytes, of which either
// stride leads to the second. B[k][n] = 1 where k is n, or n + 8 in the upper half.
template <class Type>
__device__ uint64_t identity(unsigned char* at, bool upper) {
  constexpr int per_piece = 16 / sizeof(typename Type::Element);
  auto* b = reinterpret_cast<typename Type::Element*>(at);
  for (int i = threadIdx.x; i < 8 * Type::K; i += kGroup) {
    const int n = i / Type::K, k = i % Type::K;
    b[k / per_piece * 8 * per_piece + n * per_piece + k % per_piece] =
        Type::element(k == n + (upper ? 8 : 0) ? 1.0f : 0.0f);
  }
  return ptx::matrix_descriptor(at, 128, 128, Swizzle::none);
}

// Every element of the operand's memory becomes a byte of its own number.
template <class Type>
__device__ void number_through(unsigned char* at, int byte) {
  auto* x = reinterpret_cast<typename Type::Element*>(at);
  for (int i = threadIdx.x; i < static_cast<int>(kOperandBytes / sizeof *x); i += kGroup)
    x[i] = Type::element(static_cast<float>(i >> 8 * byte & 255));
}

// A (64 x K) from shared memory: out[half of k][thread][register of d], the number of the element that was
// read. d's columns are k, 8 at a time.
template <class Type, int Across>
__global__ void shared_a(uint32_t* out, unsigned leading, unsigned stride, Swizzle swizzle) {
  SharedMemory memory;
  unsigned char* a = aligned(memory, kOperandBytes);
  unsigned char* b = aligned(memory, 512);
  for (int half = 0; half < Type::K / 8; ++half) {
    uint32_t number[4] = {};
    for (int byte = 0; byte < 2; ++byte) {
      number_through<Type>(a, byte);
      const uint64_t right = identity<Type>(b, half == 1);
      ptx::fence_async();
      __syncthreads();
      float d[4] = {};
      ptx::begin_products(d);
      multiply_n8<Type, Across>(d, ptx::matrix_descriptor(a, leading, stride, swizzle), right);
      ptx::end_products(d);
      for (int i = 0; i < 4; ++i) number[i] += static_cast<uint32_t>(d[i]) << 8 * byte;
      __syncthreads();
    }
    for (int i = 0; i < 4; ++i) out[(half * kGroup + threadIdx.x) * 4 + i] = number[i];
  }
}

// A from registers: out[half of k][thread][register of d], 8 * thread + place among the thread's elements.
template <class Type>
__global__ void register_a(uint32_t* out) {
  SharedMemory memory;
  unsigned char* b = aligned(memory, 512);
  for (int half = 0; half < Type::K / 8; ++half) {
    uint32_t number[4] = {};
    for (int byte = 0; byte < 2; ++byte) {
      const uint64_t right = identity<Type>(b, half == 1);
      ptx::fence_async();
      __syncthreads();
      const auto code = [&](int place) {
        return static_cast<float>((8 * threadIdx.x + place) >> 8 * byte & 255);
      };
      uint32_t a[4];
      for (int r = 0; r < 4; ++r) a[r] = Type::pack(code(r * Type::kPer), code(r * Type::kPer + 1));
      float d[4] = {};
      ptx::begin_products(d);
      multiply_n8<Type>(d, a, right);
      ptx::end_products(d);
      for (int i = 0; i < 4; ++i) number[i] += static_cast<uint32_t>(d[i]) << 8 * byte;
      __syncthreads();
    }
    for (int i = 0; i < 4; ++i) out[(half * kGroup + threadIdx.x) * 4 + i] = number[i];
  }
}

// B (K x 64) from shared memory through A = identity in the registers of the first warp, which are those of
// mma.sync: out[thread of that warp][register of d], the number of the element that was read.
template <class Type, int Across>
__global__ void shared_b(uint32_t* out, unsigned leading, unsigned stride, Swizzle swizzle) {
  SharedMemory memory;
  unsigned char* b = aligned(memory, kOperandBytes);
  const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
  uint32_t a[4] = {};
  for (int r = 0; r < 4 && threadIdx.x < 32; ++r) {
    const int row = group + r % 2 * 8, k = t * Type::kPer + r / 2 * (Type::K / 2);
    a[r] = Type::pack(row == k ? 1.0f : 0.0f, row == k + 1 ? 1.0f : 0.0f);
  }
  uint32_t number[32] = {};
  for (int byte = 0; byte < 2; ++byte) {
    number_through<Type>(b, byte);
    ptx::fence_async();
    __syncthreads();
    float d[32] = {};
    ptx::begin_products(d);
    multiply_n64<Type, Across>(d, a, ptx::matrix_descriptor(b, leading, stride, swizzle));
    ptx::end_products(d);
#pragma unroll
    for (int i = 0; i < 32; ++i) number[i] += static_cast<uint32_t>(d[i]) << 8 * byte;
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 32; ++i)
    if (threadIdx.x < 32) out[threadIdx.x * 32 + i] = number[i];
}

template <class Type, int Across>
void add_operands(Experiments& all, const std::string& type, const Lines& lines) {
  // Strides that fit together, and others, by which it shows what each one does.
  const unsigned piece = 8 * lines.bytes;
  const unsigned strides[][2] = {{piece, 2 * piece}, {2 * piece, piece}, {2048, 4096}};
  for (const auto& [leading, stride] : strides) {
    const std::string name = type + (Across ? " across k, " : " along k, ") + lines.name + ", leading " +
                             std::to_string(leading) + ", stride " + std::to_string(stride);
    all.push_back({"wgmma A " + name, Type::K / 8 * kGroup * 4,
                   [leading = leading, stride = stride, swizzle = lines.swizzle](uint32_t* out) {
                     return run<shared_a<Type, Across>>(1, kGroup, kSharedBytes, out, leading, stride,
                                                        swizzle);
                   }});
    all.push_back({"wgmma B " + name, 32 * 32,
                   [leading = leading, stride = stride, swizzle = lines.swizzle](uint32_t* out) {
                     return run<shared_b<Type, Across>>(1, kGroup, kSharedBytes, out, leading, stride,
                                                        swizzle);
                   }});
  }
}

// bf16, A from registers, B from shared memory: 64 x 64 x 16 at a time.
__global__ void __launch_bounds__(2 * kGroup) multiply_warpgroup(float* out, int rounds) {
  SharedMemory memory;
  unsigned char* b = aligned(memory, 4096);
  for (int i = threadIdx.x; i < 4096; i += 2 * kGroup) b[i] = 0;
  ptx::fence_async();
  __syncthreads();
  const uint64_t right = ptx::matrix_descriptor(b, 16, 1024, Swizzle::bytes128);
  const auto* left = reinterpret_cast<const uint32_t*>(out);  // zeros, which the compiler does not know of
  const uint32_t a[4] = {left[0], left[1], left[2], left[3]};
  float d[32] = {};
  for (int round = 0; round < rounds; ++round) {
    ptx::begin_products(d);
#pragma unroll
    for (int i = 0; i < 8; ++i) ptx::multiply_bf16_n64<0>(d, a, right);
    ptx::end_products(d);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) total += d[i];
  if (total == 12345.678f) out[0] = total;
}

}  // namespace

void add_hopper_experiments(Experiments& all) {
  all.push_back({"wgmma A bf16 in registers", 2 * kGroup * 4,
                 [](uint32_t* out) { return run<register_a<Bf16>>(1, kGroup, kSharedBytes, out); }});
  all.push_back({"wgmma A tf32 in registers", kGroup * 4,
                 [](uint32_t* out) { return run<register_a<Tf32>>(1, kGroup, kSharedBytes, out); }});
  for (const Lines& lines : kLines) {
    add_operands<Bf16, 0>(all, "bf16", lines);
    add_operands<Bf16, 1>(all, "bf16", lines);
    add_operands<Tf32, 0>(all, "tf32", lines);
  }
  add_box_experiments(all);
}

void add_hopper_ceilings(Ceilings& all) {
  all.push_back({"wgmma bf16", "flop/s", [](int blocks, int repeats, void* memory, size_t) {
                   constexpr int rounds = 200;
                   for (int i = 0; i < repeats; ++i)
                     launch<multiply_warpgroup>(Context{}, dim3(static_cast<unsigned>(blocks)),
                                                dim3(2 * kGroup),
                                                SharedMemory::bytes<unsigned char>(4096 + kAlign),
                                                static_cast<float*>(memory), rounds);
                   return 2.0 * 64 * 64 * 16 * 8 * rounds * blocks * 2;
                 }});
}

}  // namespace fastnn::cuda::probe
