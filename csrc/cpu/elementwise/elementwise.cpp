// Arithmetic, comparisons and elementary functions. Integers wrap around; comparisons and logical operations
// write bools.
#include "backend/elementwise.h"
#include "cpu/elementwise/loops.h"
#include "cpu/simd/math_normal.h"

namespace fastnn::FASTNN_ISA {

template <class T>
constexpr bool is_float = contains(FLOATS, dtype_of<T>);

// Two's complement arithmetic wraps when it is done on unsigned lanes.
template <class T>
struct unsigned_of {
  using type = T;
};
template <>
struct unsigned_of<int32_t> {
  using type = uint32_t;
};
template <>
struct unsigned_of<int64_t> {
  using type = uint64_t;
};
template <class T>
using Wrapping = typename unsigned_of<T>::type;

template <class T>
Status add(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, [](auto a, auto b) { return a + b; });
}
template <class T>
Status sub(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, [](auto a, auto b) { return a - b; });
}
template <class T>
Status mul(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, [](auto a, auto b) { return a * b; });
}
template <class T>
Status div(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, [](auto a, auto b) { return a / b; });
}
template <class T>
Status pow(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, [](auto x, auto y) { return pow(x, y); }, 4 * kCostly<T>);
}

// A NaN on either side gives NaN.
template <class T>
Status maximum(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, [](auto a, auto b) { return select((a > b) | (a != a), a, b); });
}
template <class T>
Status minimum(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, [](auto a, auto b) { return select((a < b) | (a != a), a, b); });
}

template <class T>
Status neg(Context& ctx, const UnaryParams& p) {
  return map<Wrapping<T>>(ctx, p, [](auto x) { return -x; });
}
template <class T>
Status abs(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) {
    if constexpr (is_float<T>)
      return abs(x);
    else if constexpr (T(-1) > T(0))
      return x;
    else
      return select(x < Vec<T>(T(0)), bit_cast<T>(-bit_cast<Wrapping<T>>(x)),
                    x);  // the smallest integer stays itself
  });
}
// -1, 0 or 1; the sign of NaN is NaN, of a zero that zero.
template <class T>
Status sign(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](Vec<T> x) {
    const Vec<T> zero(T(0)), one(T(1));
    return select(x > zero, one, select(x < zero, zero - one, x));
  });
}
template <class T>
Status exp(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](auto x) { return exp(x); }, kCostly<T>);
}
template <class T>
Status log(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](auto x) { return log(x); }, kCostly<T>);
}
template <class T>
Status sqrt(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](auto x) { return sqrt(x); }, kCostly<T>);
}
template <class T>
Status erf(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, [](auto x) { return erf(x); }, kCostly<T>);
}

// A bool is compared as the byte 0 or 1.
template <class T>
struct bits_of {
  using type = T;
};
template <>
struct bits_of<bool> {
  using type = uint8_t;
};
template <class T>
using Bits = typename bits_of<T>::type;

template <class T>
Status eq(Context& ctx, const BinaryParams& p) {
  return map<Bits<T>, bool>(ctx, p, [](auto a, auto b) { return a == b; });
}
template <class T>
Status ne(Context& ctx, const BinaryParams& p) {
  return map<Bits<T>, bool>(ctx, p, [](auto a, auto b) { return a != b; });
}
template <class T>
Status lt(Context& ctx, const BinaryParams& p) {
  return map<Bits<T>, bool>(ctx, p, [](auto a, auto b) { return a < b; });
}
template <class T>
Status le(Context& ctx, const BinaryParams& p) {
  return map<Bits<T>, bool>(ctx, p, [](auto a, auto b) { return a <= b; });
}
template <class T>
Status logical_and(Context& ctx, const BinaryParams& p) {
  return map<uint8_t>(ctx, p, [](auto a, auto b) { return a & b; });
}
template <class T>
Status logical_or(Context& ctx, const BinaryParams& p) {
  return map<uint8_t>(ctx, p, [](auto a, auto b) { return a | b; });
}
template <class T>
Status logical_not(Context& ctx, const UnaryParams& p) {
  return map<uint8_t>(ctx, p, [](auto a) { return a ^ uint8_t(1); });
}
template <class T>
Status where(Context& ctx, const WhereParams& p) {
  return map<Bits<T>>(ctx, p, [](auto condition, auto a, auto b) { return select(condition, a, b); });
}

FASTNN_EXPORT_PART(ElementwiseTable, elementwise, FASTNN_ELEMENTWISE)

}  // namespace fastnn::FASTNN_ISA
