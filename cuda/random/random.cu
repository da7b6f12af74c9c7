// Random numbers. Element i is a function of (seed, op, i) alone, the same as on the CPU:
//   float uniform, dropout of both types   word i mod 4 of block i / 4
//   float normal                           a pair of elements from a pair of those words
//   double, integers                       words 2 (i mod 2) and the next of block i / 2, as 64 bits
// A thread draws whole Philox blocks and turns each into two or four elements. The arithmetic, logarithm
// included, is that of the CPU's kernels with fused multiply-add, so values agree to the bit.
#include "backend/philox.h"
#include "backend/random.h"
#include "cuda/common/convert.cuh"
#include "cuda/common/math.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {
namespace {

constexpr int kRandomThreads = 256;

// A group of G elements from element `first` on, as far as there are so many; in one piece where memory is
// aligned to that.
template <class T, int G>
__device__ void store_group(T* y, int64_t first, int64_t numel, bool aligned, const Vector<T, G>& values) {
  if (aligned && first + G <= numel) {
    values.store(y + first);
  } else {
#pragma unroll
    for (int e = 0; e < G; ++e)
      if (first + e < numel) y[first + e] = values.v[e];
  }
}

// Groups of G elements are stored in one piece of at most 16 bytes and take whole Philox blocks. A thread
// takes kGroups of them.
constexpr int kGroups = 2;
template <class F>
__device__ void for_groups(int G, int64_t numel, const F& f) {
#pragma unroll
  for (int u = 0; u < kGroups; ++u) {
    const int64_t group = (static_cast<int64_t>(blockIdx.x) * kGroups + u) * kRandomThreads + threadIdx.x;
    if (group * G < numel) f(group * G);
  }
}
template <auto Kernel, class... Args>
Status launch_groups(const Context& ctx, int G, int64_t numel, const Args&... args) {
  const int64_t blocks = ceil_div<int64_t>(numel, static_cast<int64_t>(G) * kGroups * kRandomThreads);
  return launch<Kernel>(ctx, static_cast<unsigned>(blocks), kRandomThreads, 0, args...);
}
// ---- from words to numbers

// The draws of one Philox block: four of 32 bits or two of 64.
template <class U>
struct Draws {
  static constexpr int count = kVector<U>;
  U at[count];

  __device__ Draws(uint64_t seed, uint64_t op, int64_t block) {
    uint32_t words[4];
    philox4x32(seed, op, static_cast<uint64_t>(block), words);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      if constexpr (sizeof(U) == 4)
        at[i] = words[i];
      else
        at[i] = words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
    }
  }
};

// [0, 1) in steps of 2^-24 or 2^-53.
__device__ inline float unit(uint32_t draw) {
  return static_cast<float>(static_cast<int32_t>(draw >> 8)) * 0x1p-24f;
}
__device__ inline double unit(uint64_t draw) {
  return static_cast<double>(static_cast<int64_t>(draw >> 11)) * 0x1p-53;
}

// ---- uniform

// The number before b on the way to a: what a + (b - a) u must not exceed though it may round to b.
template <class T>
T below(T a, T b) {
  return a < b ? (sizeof(T) == 4 ? ::nextafterf(b, a) : ::nextafter(b, a)) : a;
}
template <class T>
__global__ void uniform_kernel(T* y, int64_t numel, bool aligned, uint64_t seed, uint64_t op, T a, T width,
                               T top) {
  constexpr int G = kVector<T>;
  for_groups(G, numel, [&](int64_t first) {
    const Draws<Unsigned<T>> draw(seed, op, first / G);
    Vector<T, G> values;
#pragma unroll
    for (int e = 0; e < G; ++e) {
      const T value = math_fma(unit(draw.at[e]), width, a);
      values.v[e] = value < top ? value : top;
    }
    store_group(y, first, numel, aligned, values);
  });
}
template <class T>
Status uniform(Context& ctx, const RandomParams& p) {
  constexpr int G = kVector<T>;
  const T a = static_cast<T>(p.a), top = below(a, static_cast<T>(p.b));
  return launch_groups<uniform_kernel<T>>(ctx, G, p.numel, static_cast<T*>(p.y), p.numel,
                                          aligned_to(p.y, Vector<T, G>::kAlign), p.seed, p.op, a,
                                          static_cast<T>(p.b - p.a), top);
}

// ---- normal

// log(x) for positive normal x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)):
// log(1 + f) = f - f^2 / 2 + f^3 P(f).
__device__ inline float log_normal(float x) {
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  constexpr float P[] = {0.3333331048488617f,   -0.24999986588954926f, 0.20002241432666779f,
                         -0.16669271886348724f, 0.14218342304229736f,  -0.12383785843849182f,
                         0.11874955892562866f,  -0.11794132739305496f, 0.06915902346372604f};
  const int32_t above = bits_as<int32_t>(x) - kSqrtHalf;
  const float e = static_cast<float>(above >> 23), f = bits_as<float>((above & 0x7fffff) + kSqrtHalf) - 1.0f;
  const float f2 = f * f;
  float poly = P[8];
#pragma unroll
  for (int i = 7; i >= 0; --i) poly = ::fmaf(poly, f, P[i]);
  float rest = f2 * f * poly;
  rest = ::fmaf(e, 0x1.7f7d1cp-20f, rest);
  rest = ::fmaf(-0.5f, f2, rest);
  return ::fmaf(e, 0x1.62e4p-1f, f + rest);
}
// With s = f / (2 + f) and z = s^2: log(1 + f) = 2 s + s z R(z) = f - (f^2 / 2 - s (f^2 / 2 + z R(z))).
__device__ inline double log_normal(double x) {
  constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  constexpr double R[] = {0.6666666666666735,  0.3999999999940751, 0.28571428744135824, 0.22222198379137786,
                          0.18183575127735857, 0.1531375679205199, 0.14799055260792573};
  const int64_t above = bits_as<int64_t>(x) - kSqrtHalf;
  const double e = static_cast<double>(above >> 52);
  const double f = bits_as<double>((above & 0xfffffffffffff) + kSqrtHalf) - 1.0;
  const double s = f / (f + 2.0), z = s * s, half_f2 = 0.5 * f * f;
  double poly = R[6];
#pragma unroll
  for (int i = 5; i >= 0; --i) poly = ::fma(poly, z, R[i]);
  const double rest = ::fma(s, half_f2 + z * poly, e * 0x1.473de6af278edp-34);
  return ::fma(e, 0x1.62e42fefp-1, f - (half_f2 - rest));
}

// Box and Muller: (r cos t, r sin t) with r = sqrt(-2 log u) and t a random angle are two independent normal
// numbers. u is in (0, 1], turns in [0, 1). Sine and cosine of the rest of t, at most an eighth of a turn, by
// Taylor's series: the terms left out are below 2e-9 (float) and 2e-19 (double).
template <class T>
__device__ void box_muller(T u, T turns, T* out) {
  constexpr int kLast = sizeof(T) == 4 ? 9 : 17;
  const T r = math_sqrt(T(-2) * log_normal(u)), quarters = turns * T(4), nearest = math_rint(quarters);
  const T x = (quarters - nearest) * static_cast<T>(1.5707963267948966), z = x * x;
  T sine = T(1), cosine = T(1);
#pragma unroll
  for (int k = kLast; k >= 3; k -= 2) {  // 1 - z / (2 3) (1 - z / (4 5) (...)), and z / (1 2), z / (3 4)
    sine = math_fma(sine, z * static_cast<T>(-1.0 / (k * (k - 1))), T(1));
    cosine = math_fma(cosine, z * static_cast<T>(-1.0 / ((k - 1) * (k - 2))), T(1));
  }
  sine = x * sine;
  const int quadrant = static_cast<int>(nearest);
  const bool swapped = (quadrant & 1) != 0;
  const T c = swapped ? sine : cosine, s = swapped ? cosine : sine;
  out[0] = r * (((quadrant + 1) & 2) != 0 ? -c : c);
  out[1] = r * ((quadrant & 2) != 0 ? -s : s);
}
// (0, 1]. 31 bits, so that the smallest float is 2^-32 and the tail reaches 6.6 deviations.
__device__ inline float radius_unit(uint32_t draw) {
  return (static_cast<float>(static_cast<int32_t>(draw >> 1)) + 0.5f) * 0x1p-31f;
}
__device__ inline double radius_unit(uint64_t draw) { return unit(draw) + 0x1p-54; }

template <class T>
__global__ void normal_kernel(T* y, int64_t numel, bool aligned, uint64_t seed, uint64_t op, T mean,
                              T deviation) {
  constexpr int G = kVector<T>;
  for_groups(G, numel, [&](int64_t first) {
    const Draws<Unsigned<T>> draw(seed, op, first / G);
    Vector<T, G> values;
#pragma unroll
    for (int e = 0; e < G; e += 2) {
      T z[2];
      box_muller(radius_unit(draw.at[e]), unit(draw.at[e + 1]), z);
      values.v[e] = math_fma(z[0], deviation, mean);
      values.v[e + 1] = math_fma(z[1], deviation, mean);
    }
    store_group(y, first, numel, aligned, values);
  });
}
template <class T>
Status normal(Context& ctx, const RandomParams& p) {
  constexpr int G = kVector<T>;
  return launch_groups<normal_kernel<T>>(ctx, G, p.numel, static_cast<T*>(p.y), p.numel,
                                         aligned_to(p.y, Vector<T, G>::kAlign), p.seed, p.op,
                                         static_cast<T>(p.a), static_cast<T>(p.b));
}

// ---- integers

// low + the high 64 bits of draw * range: each value's chance is off by at most 2^-64 of the whole.
template <class T>
constexpr int kIntegers = sizeof(T) == 8 ? 2 : 4;
template <class T>
__global__ void integers_kernel(T* y, int64_t numel, bool aligned, uint64_t seed, uint64_t op, uint64_t low,
                                uint64_t range) {
  constexpr int G = kIntegers<T>;
  for_groups(G, numel, [&](int64_t first) {
    Vector<T, G> values;
#pragma unroll
    for (int e = 0; e < G; e += 2) {
      const Draws<uint64_t> draw(seed, op, (first + e) / 2);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint64_t offset =
            static_cast<uint64_t>(static_cast<unsigned __int128>(draw.at[i]) * range >> 64);
        values.v[e + i] = static_cast<T>(low + offset);
      }
    }
    store_group(y, first, numel, aligned, values);
  });
}
template <class T>
Status random_integers(Context& ctx, const RandomParams& p) {
  constexpr int G = kIntegers<T>;
  const uint64_t low = static_cast<uint64_t>(p.low), range = static_cast<uint64_t>(p.high) - low;
  return launch_groups<integers_kernel<T>>(ctx, G, p.numel, static_cast<T*>(p.y), p.numel,
                                           aligned_to(p.y, Vector<T, G>::kAlign), p.seed, p.op, low, range);
}

// ---- dropout

// Kept where the draw is at least `limit`.
template <class T>
__global__ void dropout_kernel(T* __restrict__ y, const T* __restrict__ x, int64_t numel, bool aligned,
                               uint64_t seed, uint64_t op, uint32_t limit, bool all, T scale) {
  constexpr int G = 4;
  for_groups(G, numel, [&](int64_t first) {
    Vector<T, G> values = {};
    if (aligned && first + G <= numel) {
      values = Vector<T, G>::load(x + first);
    } else {
#pragma unroll
      for (int e = 0; e < G; ++e)
        if (first + e < numel) values.v[e] = x[first + e];
    }
    const Draws<uint32_t> draw(seed, op, first / G);
#pragma unroll
    for (int e = 0; e < G; ++e) values.v[e] = draw.at[e] >= limit && !all ? values.v[e] * scale : T(0);
    store_group(y, first, numel, aligned, values);
  });
}
// The limit is p 2^32: 32 bits, so that the chance is right to 2^-33 also for small p.
template <class T>
Status dropout(Context& ctx, const DropoutParams& p) {
  constexpr int G = 4;
  const double threshold = p.p * 4294967296.0 + 0.5;
  const bool all = threshold >= 4294967296.0;
  const uint32_t limit = all ? 0xffffffffu : static_cast<uint32_t>(threshold);
  const T scale = static_cast<T>(all ? 0 : 1 / (1 - p.p));
  const bool aligned = aligned_to(p.y, Vector<T, G>::kAlign) && aligned_to(p.x, Vector<T, G>::kAlign);
  return launch_groups<dropout_kernel<T>>(ctx, G, p.numel, static_cast<T*>(p.y), static_cast<const T*>(p.x),
                                          p.numel, aligned, p.seed, p.op, limit, all, scale);
}

}  // namespace

FASTNN_EXPORT(RandomTable, random, FASTNN_RANDOM)

}  // namespace fastnn::cuda
