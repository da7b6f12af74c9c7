// Tensor cores, ldmatrix and the roundings that go with them. Fragments are laid out as ptx.cuh says.
#include <math.h>

#include "cuda/emulator/ptx.h"
#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

float widen_bf16(uint32_t bits) { return __uint_as_float(bits << 16); }

float widen_fp16(uint32_t bits) {
  const unsigned exponent = bits >> 10 & 31u, fraction = bits & 1023u;
  const float sign = bits >> 15 & 1u ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexpf(static_cast<float>(fraction), -24);
  return sign * ldexpf(static_cast<float>(1024 + fraction), static_cast<int>(exponent) - 25);
}

struct MmaPayload {
  MmaType type;
  float* d;
  const uint32_t *a, *b;
};
struct MatrixPayload {
  uint32_t* r;
  const void* row;
  bool transposed;
};

template <class Payload>
Payload& payload_of(const Fiber& lane) {
  return *static_cast<Payload*>(lane.arrival.payload);
}

// Element `half` of a register: two of 16 bits, or one of 32.
float element(MmaType type, uint32_t bits, int half) {
  if (type == MmaType::tf32) return __uint_as_float(bits & ~0x1fffu);  // the low bits are not looked at
  const uint32_t part = half ? bits >> 16 : bits & 0xffffu;
  return type == MmaType::bf16 ? widen_bf16(part) : widen_fp16(part);
}

void complete_mma(Fiber* lanes, unsigned) {
  const MmaType type = payload_of<MmaPayload>(lanes[0]).type;
  const int per = type == MmaType::tf32 ? 1 : 2, depth = 8 * per, half_depth = depth / 2;
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& p = payload_of<MmaPayload>(lanes[lane]);
    const int group = lane / 4, t = lane % 4;
    for (int half = 0; half < per; ++half) {
      const int k = t * per + half;
      for (int r = 0; r < 4; ++r) a[group + r % 2 * 8][k + r / 2 * half_depth] = element(type, p.a[r], half);
      for (int r = 0; r < 2; ++r) b[k + r * half_depth][group] = element(type, p.b[r], half);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& p = payload_of<MmaPayload>(lanes[lane]);
    for (int r = 0; r < 4; ++r) {
      const int row = lane / 4 + r / 2 * 8, column = lane % 4 * 2 + r % 2;
      float sum = p.d[r];
      for (int k = 0; k < depth; ++k) sum = fmaf(a[row][k], b[k][column], sum);
      p.d[r] = sum;
    }
  }
}

void complete_load(Fiber* lanes, unsigned) {
  uint16_t matrix[4][8][8];
  for (int lane = 0; lane < kLanes; ++lane)
    memcpy(matrix[lane / 8][lane % 8], payload_of<MatrixPayload>(lanes[lane]).row, 16);
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& p = payload_of<MatrixPayload>(lanes[lane]);
    const int i = lane / 4, j = lane % 4 * 2;
    for (int n = 0; n < 4; ++n)
      p.r[n] = p.transposed ? uint32_t{matrix[n][j + 1][i]} << 16 | matrix[n][j][i]
                            : uint32_t{matrix[n][i][j + 1]} << 16 | matrix[n][i][j];
  }
}

void need_whole_warp(const char* name, Site site) {
  const Fiber& self = *machine.current;
  if (machine.warp[self.warp()].exists != kAllLanes)
    fault("%s at %s:%d in a warp of fewer than 32 threads", name, file_name(site.file), site.line);
}

}  // namespace

void mma(MmaType type, float* d, const uint32_t* a, const uint32_t* b, Site site) {
  constexpr const char* names[] = {"mma_tf32", "mma_bf16", "mma_fp16"};
  const char* name = names[static_cast<int>(type)];
  need_whole_warp(name, site);
  if (capability() < 80)
    fault("%s at %s:%d on a device of capability %d", name, file_name(site.file), site.line, capability());
  MmaPayload payload{type, d, a, b};
  collect({name, kAllLanes, site, &payload}, complete_mma);
}

void load_matrix_x4(uint32_t* r, const void* row, bool transposed, Site site) {
  const char* name = transposed ? "load_matrix_x4_transposed" : "load_matrix_x4";
  const auto a = reinterpret_cast<uintptr_t>(row);
  need_whole_warp(name, site);
  if (!machine.shared.contains(a))
    fault("%s at %s:%d: the row is not in shared memory", name, file_name(site.file), site.line);
  if (a % 16) fault("misaligned: %s at %s:%d: row, 16 bytes", name, file_name(site.file), site.line);
  check_access(a, 16, Access::read, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
  MatrixPayload payload{r, row, transposed};
  collect({name, kAllLanes, site, &payload}, complete_load);
}

namespace {
uint32_t cut_tf32(float v, uint32_t added) {
  const uint32_t bits = __float_as_uint(v);
  if (v != v) return 0x7fffffffu;
  return (bits & 0x7fffffffu) == 0x7f800000u ? bits : (bits + added) & ~0x1fffu;
}
}  // namespace
uint32_t round_tf32_away(float v) { return cut_tf32(v, 0x1000u); }
uint32_t round_tf32_to_even(float v) { return cut_tf32(v, 0xfffu + (__float_as_uint(v) >> 13 & 1u)); }
bool rounds_tf32_to_even() { return capability() >= 90; }

uint16_t round_bf16(float v) {
  const uint32_t bits = __float_as_uint(v);
  if (v != v) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

uint16_t round_fp16(float v) {
  if (v != v) return 0x7fff;
  const uint16_t sign = static_cast<uint16_t>(__float_as_uint(v) >> 16 & 0x8000u);
  const float size = fabsf(v);
  if (size >= 65520.0f) return sign | 0x7c00;
  // Multiples of the last place around size; rintf rounds ties to even.
  const int exponent = size < 0x1p-14f ? -14 : ilogbf(size);
  const int n = static_cast<int>(rintf(ldexpf(size, 10 - exponent)));  // 0 .. 2048
  return static_cast<uint16_t>(sign |
                               (((exponent + 14) << 10) + n));  // a carry out of n moves the exponent on
}

}  // namespace fastnn::emulator
