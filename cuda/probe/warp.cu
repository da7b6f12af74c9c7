// mma.sync, ldmatrix and cvt: what ptx.cuh says of them.
#include "cuda/common/ptx.cuh"
#include "cuda/probe/probe.cuh"

namespace fastnn::cuda::probe {
namespace {

enum class Kind { tf32, bf16, fp16 };

template <Kind kind>
__device__ uint32_t pack(float low, float high) {
  if constexpr (kind == Kind::bf16)
    return ptx::pack_bf16(low, high);
  else
    return ptx::pack_fp16(low, high);
}
template <Kind kind>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kind == Kind::tf32)
    ptx::mma_tf32(d, a, b);
  else if constexpr (kind == Kind::bf16)
    ptx::mma_bf16(d, a, b);
  else
    ptx::mma_fp16(d, a, b);
}

// One operand holds numbers that tell where they are, 8 * lane + place of its lane and place among the lane's
// elements; the other is the identity as ptx.cuh says, or the lower half of it, for A is 16 x K and d has 8
// columns. Table 0: A through the first 8 of k; 1: A through the last 8; 2: B. out (3 x 32 lanes x 4).
template <Kind kind>
__global__ void mma_fragments(uint32_t* out) {
  const int lane = threadIdx.x, group = lane / 4, t = lane % 4;
  constexpr int per = kind == Kind::tf32 ? 1 : 2, K = 8 * per;
  for (int table = 0; table < 3; ++table) {
    if (K == 8 && table == 1) {
      for (int i = 0; i < 4; ++i) out[(table * 32 + lane) * 4 + i] = 0;
      continue;
    }
    float d[4] = {};
    uint32_t a[4], b[2];
    const auto fill = [&](uint32_t& reg, int r, bool coded, auto one) {
      float v[2];
      for (int half = 0; half < per; ++half)
        v[half] = coded ? static_cast<float>(8 * lane + per * r + half) : one(t * per + half) ? 1.0f : 0.0f;
      if constexpr (kind == Kind::tf32)
        reg = ptx::round_tf32_away(v[0]);
      else
        reg = pack<kind>(v[0], v[1]);
    };
    for (int r = 0; r < 4; ++r)
      fill(a[r], r, table < 2, [&](int k) { return k + r / 2 * (K / 2) == group + r % 2 * 8; });
    for (int r = 0; r < 2; ++r)
      fill(b[r], r, table == 2, [&](int k) { return k + r * (K / 2) == group + table * 8; });
    multiply<kind>(d, a, b);
    for (int i = 0; i < 4; ++i) out[(table * 32 + lane) * 4 + i] = static_cast<uint32_t>(d[i]);
  }
}

// Products that are not exact: one row of A and one column of B, drawn by i; d[0] of lane 0, in bits. What
// tensor cores drop when they add up is written down and not compared: it is not promised.
template <Kind kind>
__global__ void mma_sums(uint32_t* out, int count) {
  const int lane = threadIdx.x;
  for (int i = 0; i < count; ++i) {
    float d[4] = {i % 2 ? 1.0f : 0.0f, 0, 0, 0};
    uint32_t a[4] = {}, b[2] = {};
    const auto draw = [&](int salt) {
      uint32_t x =
          static_cast<uint32_t>(i * 4 + lane % 4) * 2654435761u + static_cast<uint32_t>(salt) * 40503u;
      x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
      return (static_cast<float>(x >> 8) * 0x1p-23f - 1.0f) * (i / 2 % 4 == 3 ? 0x1p-12f : 1.0f);
    };
    if constexpr (kind == Kind::tf32) {
      if (lane / 4 == 0) a[0] = ptx::round_tf32_away(draw(1)), a[2] = ptx::round_tf32_away(draw(2));
      if (lane / 4 == 0) b[0] = ptx::round_tf32_away(draw(3)), b[1] = ptx::round_tf32_away(draw(4));
    } else if (lane / 4 == 0) {
      a[0] = pack<kind>(draw(1), draw(2)), a[2] = pack<kind>(draw(3), draw(4));
      b[0] = pack<kind>(draw(5), draw(6)), b[1] = pack<kind>(draw(7), draw(8));
    }
    multiply<kind>(d, a, b);
    if (lane == 0) out[i] = bits_as<uint32_t>(d[0]);
  }
}

// Four 8 x 8 matrices whose elements are numbered through; out (32 lanes x 4).
template <bool transposed>
__global__ void matrix_fragments(uint32_t* out) {
  SharedMemory memory;
  uint16_t* s = memory.take<uint16_t>(256);
  for (int i = 0; i < 8; ++i) s[threadIdx.x * 8 + i] = static_cast<uint16_t>(threadIdx.x * 8 + i);
  __syncwarp();
  uint32_t r[4];
  if constexpr (transposed)
    ptx::load_matrix_x4_transposed(r, s + threadIdx.x * 8);
  else
    ptx::load_matrix_x4(r, s + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = r[i];
}

template <int how>
__global__ void convert(uint32_t* out, const float* x, int count) {
  for (int i = threadIdx.x; i < count; i += blockDim.x)
    out[i] = how == 0   ? ptx::round_tf32_away(x[i])
             : how == 1 ? ptx::round_tf32_to_even(x[i])
             : how == 2 ? ptx::pack_bf16(x[i], x[(i + 1) % count])
                        : ptx::pack_fp16(x[i], x[(i + 1) % count]);
}

}  // namespace

std::vector<float> numbers_to_round() {
  std::vector<float> all;
  const auto add = [&](uint32_t bits) {
    all.push_back(bits_as<float>(bits)), all.push_back(bits_as<float>(bits | 0x80000000u));
  };
  // Around every place where one of the formats cuts: tf32 13 bits, fp16 13, bf16 16; below, at and above a
  // tie.
  for (const uint32_t exponent :
       {0u, 1u, 95u, 102u, 103u, 104u, 111u, 112u, 113u, 127u, 141u, 142u, 253u, 254u})
    for (const uint32_t unit : {0x2000u, 0x10000u})
      for (const uint32_t last : {0u, 1u})
        for (const uint32_t below : {0u, unit / 2 - 1, unit / 2, unit / 2 + 1, unit - 1})
          add(exponent << 23 | last * unit | below);
  for (const uint32_t fraction : {0x7fffffu, 0x7ff000u, 0x7fe000u, 0x7f8000u, 0x7f7fffu})
    for (const uint32_t exponent : {0u, 112u, 127u, 142u, 254u}) add(exponent << 23 | fraction);
  for (const uint32_t nan : {0x7f800000u, 0x7f800001u, 0x7fa00000u, 0x7fc00000u, 0x7fc12345u, 0x7fffffffu})
    add(nan);  // the first is infinity
  uint32_t x = 1;
  for (int i = 0; i < 256; ++i) x = x * 1664525u + 1013904223u, all.push_back(bits_as<float>(x));
  return all;
}

void add_warp_experiments(Experiments& all) {
  const auto add = [&](std::string name, int words, auto f) { all.push_back({std::move(name), words, f}); };
  add("mma tf32 fragments", 384, [](uint32_t* out) { return run<mma_fragments<Kind::tf32>>(1, 32, 0, out); });
  add("mma bf16 fragments", 384, [](uint32_t* out) { return run<mma_fragments<Kind::bf16>>(1, 32, 0, out); });
  add("mma fp16 fragments", 384, [](uint32_t* out) { return run<mma_fragments<Kind::fp16>>(1, 32, 0, out); });
  add("ldmatrix", 128, [](uint32_t* out) {
    return run<matrix_fragments<false>>(1, 32, SharedMemory::bytes<uint16_t>(256), out);
  });
  add("ldmatrix transposed", 128, [](uint32_t* out) {
    return run<matrix_fragments<true>>(1, 32, SharedMemory::bytes<uint16_t>(256), out);
  });
  const int count = static_cast<int>(numbers_to_round().size());
  add("numbers to round", count, [](uint32_t* out) {
    const auto x = numbers_to_round();
    return copy_to_device(out, x.data(), x.size() * 4);
  });
  const auto conversion = [&]<int how>(const char* name) {
    add(name, count, [](uint32_t* out) {
      const auto x = numbers_to_round();
      const OnDevice<float> on(x);
      return run<convert<how>>(1, 64, 0, out, static_cast<const float*>(on.get()),
                               static_cast<int>(x.size()));
    });
  };
  conversion.template operator()<0>("cvt rna tf32");
  conversion.template operator()<1>("cvt rn tf32");
  conversion.template operator()<2>("cvt rn bf16x2");
  conversion.template operator()<3>("cvt rn fp16");
  add("sums of mma tf32, not compared", 64,
      [](uint32_t* out) { return run<mma_sums<Kind::tf32>>(1, 32, 0, out, 64); });
  add("sums of mma bf16, not compared", 64,
      [](uint32_t* out) { return run<mma_sums<Kind::bf16>>(1, 32, 0, out, 64); });
  add("sums of mma fp16, not compared", 64,
      [](uint32_t* out) { return run<mma_sums<Kind::fp16>>(1, 32, 0, out, 64); });
}

}  // namespace fastnn::cuda::probe
