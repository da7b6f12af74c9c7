// Random numbers. Element i is a function of (seed, op, i) alone:
//   float uniform, dropout of both types   word i mod 4 of block i / 4
//   float normal                           a pair of elements from a pair of those words
//   double, integers                       words 2 (i mod 2) and the next of block i / 2, as 64 bits
// Work is cut into spans of kSpan elements, whose words are drawn into L1 and then turned into values by
// vectors.
#include "backend/random.h"
#include "backend/integers.h"
#include "cpu/random/draws.h"
#include "cpu/simd/math.h"

namespace fastnn::FASTNN_ISA {
namespace {

constexpr int kSpan = 256;
constexpr int64_t kTaskSpans = 64;
constexpr double kNsPerElement = 0.5;

template <class T>
constexpr int kWords = sizeof(T) / 4;  // 32-bit words behind an element

// Calls f(first, n, words) for every span: its first element, their number, and their words, as many as kSpan
// elements take. n is kSpan but for the last.
template <int words, class F>
Status for_spans(Context& ctx, int64_t numel, uint64_t seed, uint64_t op, F&& f) {
  const int64_t spans = ceil_div(numel, kSpan), tasks = ceil_div(spans, kTaskSpans);
  return parallel_for(ctx, tasks, static_cast<double>(numel) * kNsPerElement * words, [&](int64_t task, int) {
    alignas(64) uint32_t draws[kSpan * words];
    for (int64_t span = task * kTaskSpans; span < (task + 1) * kTaskSpans && span < spans; ++span) {
      const int64_t first = span * kSpan;
      for (int w = 0; w < kSpan * words; w += kDrawWords)
        draw_words(seed, op, static_cast<uint64_t>((first * words + w) / 4), draws + w);
      f(first, static_cast<int>(numel - first < kSpan ? numel - first : kSpan), draws);
    }
  });
}

template <class T>
void copy_span(T* y, const T* values, int n) {
  memcpy(y, values, static_cast<size_t>(n) * sizeof(T));
}

// [0, 1) in steps of 2^-24 or 2^-53. A number of up to 32 bits becomes a double by standing in the low bits
// of 2^52.
FASTNN_INLINE Vec<float> unit(Vec<uint32_t> draw, float) {
  return convert<float>(bit_cast<int32_t>(draw >> 8)) * Vec<float>(0x1p-24f);
}
FASTNN_INLINE Vec<double> whole(Vec<uint64_t> n) {
  return bit_cast<double>(n | Vec<uint64_t>(0x4330000000000000ull)) - Vec<double>(0x1p52);
}
FASTNN_INLINE Vec<double> unit(Vec<uint64_t> draw, double) {
  return whole(draw >> 32) * Vec<double>(0x1p-32) +
         whole((draw >> 11) & Vec<uint64_t>(0x1fffff)) * Vec<double>(0x1p-53);
}

// The number before b on the way to a: what a + (b - a) u must not exceed though it may round to b.
template <class T>
T below(T a, T b) {
  if (!(a < b)) return a;
  using I = Int<T>;
  I bits;
  memcpy(&bits, &b, sizeof(T));
  bits = b > 0 ? bits - 1 : b < 0 ? bits + 1 : Format<T>::sign + 1;
  memcpy(&b, &bits, sizeof(T));
  return b;
}

// sine and cosine of a quarter turn times f, |f| <= 1/2, by Taylor's series: at pi/4 the terms left out are
// below 2e-9 (float) and 2e-19 (double).
template <class T>
Both<T> sine_cosine(Vec<T> f) {
  using V = Vec<T>;
  constexpr int last = sizeof(T) == 4 ? 9 : 17;
  const V x = f * V(static_cast<T>(1.5707963267948966)), z = x * x;
  V sine(T(1)), cosine(T(1));
  for (int k = last; k >= 3; k -= 2) {  // 1 - z / (2 3) (1 - z / (4 5) (...)), and z / (1 2), z / (3 4)
    sine = fma(sine, z * V(static_cast<T>(-1.0 / (k * (k - 1)))), V(T(1)));
    cosine = fma(cosine, z * V(static_cast<T>(-1.0 / ((k - 1) * (k - 2)))), V(T(1)));
  }
  return {x * sine, cosine};
}

// Box and Muller: (r cos t, r sin t) with r = sqrt(-2 log u) and t a random angle are two independent normal
// numbers. u is in (0, 1], turns in [0, 1).
template <class T>
Both<T> box_muller(Vec<T> u, Vec<T> turns) {
  using V = Vec<T>;
  const V r = sqrt(V(T(-2)) * log(u)), quarters = turns * V(T(4)), nearest = round(quarters);
  const Both<T> sc = sine_cosine(quarters - nearest);
  const Mask<T> quadrant = convert_small(nearest), zero(Int<T>(0)), one(Int<T>(1)), two(Int<T>(2));
  const Mask<T> swapped = (quadrant & one) != zero;
  const V c = select(swapped, sc.a, sc.b), s = select(swapped, sc.b, sc.a);
  const Mask<T> minus_c = ((quadrant + one) & two) != zero, minus_s = (quadrant & two) != zero;
  return {r * select(minus_c, -c, c), r * select(minus_s, -s, s)};
}

}  // namespace

template <class T>
Status uniform(Context& ctx, const RandomParams& p) {
  using V = Vec<T>;
  using Draw = Vec<Unsigned<T>>;
  const V a(static_cast<T>(p.a)), width(static_cast<T>(p.b - p.a)),
      top(below(static_cast<T>(p.a), static_cast<T>(p.b)));
  T* y = static_cast<T*>(p.y);
  return for_spans<kWords<T>>(ctx, p.numel, p.seed, p.op, [&](int64_t first, int n, const uint32_t* words) {
    for (int i = 0; i < n; i += V::N) {
      const auto draw = Draw::load(reinterpret_cast<const Unsigned<T>*>(words) + i);
      min(fma(unit(draw, T()), width, a), top).store_n(y + first + i, n - i < V::N ? n - i : V::N);
    }
  });
}

template <class T>
Status normal(Context& ctx, const RandomParams& p) {
  using V = Vec<T>;
  using U = Unsigned<T>;
  using Draw = Vec<U>;
  const V mean(static_cast<T>(p.a)), deviation(static_cast<T>(p.b));
  T* y = static_cast<T*>(p.y);
  return for_spans<kWords<T>>(ctx, p.numel, p.seed, p.op, [&](int64_t first, int n, const uint32_t* words) {
    alignas(64) T values[kSpan];
    for (int i = 0; i < n; i += 2 * V::N) {
      const U* at = reinterpret_cast<const U*>(words) + i;
      const Both<T> pairs = deinterleave(bit_cast<T>(Draw::load(at)), bit_cast<T>(Draw::load(at + V::N)));
      const Draw radius = bit_cast<U>(pairs.a), angle = bit_cast<U>(pairs.b);
      V u;
      if constexpr (sizeof(T) ==
                    4)  // 31 bits, so that the smallest is 2^-32 and the tail reaches 6.6 deviations
        u = (convert<float>(bit_cast<int32_t>(radius >> 1)) + V(0.5f)) * V(0x1p-31f);
      else
        u = unit(radius, T()) + V(0x1p-54);
      const Both<T> z = box_muller(u, unit(angle, T()));
      const Both<T> out = interleave(fma(z.a, deviation, mean), fma(z.b, deviation, mean));
      out.a.store(values + i);
      out.b.store(values + i + V::N);
    }
    copy_span(y + first, values, n);
  });
}

// low + the high 64 bits of draw * (high - low): each value's chance is off by at most 2^-64 of the whole.
template <class T>
Status random_integers(Context& ctx, const RandomParams& p) {
  const uint64_t range = static_cast<uint64_t>(p.high) - static_cast<uint64_t>(p.low);
  T* y = static_cast<T*>(p.y);
  return for_spans<2>(ctx, p.numel, p.seed, p.op, [&](int64_t first, int n, const uint32_t* words) {
    for (int i = 0; i < n; ++i) {
      const uint64_t draw = words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
      const uint64_t offset = static_cast<uint64_t>(static_cast<unsigned __int128>(draw) * range >> 64);
      y[first + i] = static_cast<T>(static_cast<uint64_t>(p.low) + offset);
    }
  });
}

// Kept where the draw is at least p 2^32: 32 bits, so that the chance is right to 2^-33 also for small p.
template <class T>
Status dropout(Context& ctx, const DropoutParams& p) {
  using V = Vec<T>;
  const double threshold = p.p * 4294967296.0 + 0.5;
  const bool all = threshold >= 4294967296.0;
  const Vec<uint32_t> limit(all ? 0xffffffffu : static_cast<uint32_t>(threshold));
  const V scale(static_cast<T>(all ? 0 : 1 / (1 - p.p))), zero(T(0));
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  return for_spans<1>(ctx, p.numel, p.seed, p.op, [&](int64_t first, int n, uint32_t* words) {
    // Masks of T's width, written over the draws.
    alignas(64) Int<T> keep[kSpan];
    for (int i = 0; i < kSpan; i += Vec<uint32_t>::N) {
      const Vec<int32_t> kept = all ? Vec<int32_t>(0) : Vec<uint32_t>::load(words + i) >= limit;
      if constexpr (sizeof(T) == 4)
        kept.store(keep + i);
      else
        for (int j = 0; j < Vec<uint32_t>::N; ++j) keep[i + j] = kept[j];
    }
    int i = 0;
    for (; i + V::N <= n; i += V::N)
      select(Mask<T>::load(keep + i), V::load(x + first + i) * scale, zero).store(y + first + i);
    if (i < n)
      select(Mask<T>::load(keep + i), V::load_n(x + first + i, n - i) * scale, zero)
          .store_n(y + first + i, n - i);
  });
}

FASTNN_EXPORT(RandomTable, random, FASTNN_RANDOM)

}  // namespace fastnn::FASTNN_ISA
