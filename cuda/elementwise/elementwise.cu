// Arithmetic, comparisons and elementary functions. Integers wrap around; comparisons and logical operations
// write bools.
#include "cuda/common/loops.cuh"
#include "cuda/common/math.cuh"

namespace fastnn::cuda {
namespace {

template <class T>
constexpr bool is_float = contains(FLOATS, dtype_of<T>);
template <class T>
constexpr bool is_signed = T(-1) < T(0);

// Two's complement arithmetic wraps when it is done on unsigned numbers.
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

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Sub {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct Mul {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return static_cast<T>(a * b);
  }
};
struct Div {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a / b;
  }
};
struct Pow {
  template <class T>
  __device__ T operator()(T x, T y) const {
    return math_pow(x, y);
  }
};
template <class T>
Status add(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, Add());
}
template <class T>
Status sub(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, Sub());
}
template <class T>
Status mul(Context& ctx, const BinaryParams& p) {
  return map<Wrapping<T>>(ctx, p, Mul());
}
template <class T>
Status div(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Div());
}
template <class T>
Status pow(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Pow());
}

// A NaN on either side gives NaN.
struct Maximum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
template <class T>
Status maximum(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Maximum());
}
template <class T>
Status minimum(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Minimum());
}

struct Neg {
  template <class T>
  __device__ T operator()(T x) const {
    return static_cast<T>(-x);
  }
};
struct Abs {
  template <class T>
  __device__ T operator()(T x) const {
    if constexpr (is_float<T>)
      return math_abs(x);
    else if constexpr (is_signed<T>)
      return x < 0 ? static_cast<T>(-static_cast<Wrapping<T>>(x)) : x;  // the smallest integer stays itself
    else
      return x;
  }
};
struct Sign {  // -1, 0 or 1; the sign of NaN is NaN, of a zero that zero
  template <class T>
  __device__ T operator()(T x) const {
    if (x > T(0)) return T(1);
    if constexpr (is_signed<T>)
      if (x < T(0)) return T(-1);
    return x;
  }
};
template <class T>
Status neg(Context& ctx, const UnaryParams& p) {
  return map<Wrapping<T>>(ctx, p, Neg());
}
template <class T>
Status abs(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Abs());
}
template <class T>
Status sign(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Sign());
}

struct Exp {
  template <class T>
  __device__ T operator()(T x) const {
    return math_exp(x);
  }
};
struct Log {
  template <class T>
  __device__ T operator()(T x) const {
    return math_log(x);
  }
};
struct Sqrt {
  template <class T>
  __device__ T operator()(T x) const {
    return math_sqrt(x);
  }
};
struct Erf {
  template <class T>
  __device__ T operator()(T x) const {
    return math_erf(x);
  }
};
template <class T>
Status exp(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Exp());
}
template <class T>
Status log(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Log());
}
template <class T>
Status sqrt(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Sqrt());
}
template <class T>
Status erf(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Erf());
}

struct Equal {
  template <class T>
  __device__ bool operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  __device__ bool operator()(T a, T b) const {
    return a != b;
  }
};
struct Less {
  template <class T>
  __device__ bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  __device__ bool operator()(T a, T b) const {
    return a <= b;
  }
};
template <class T>
Status eq(Context& ctx, const BinaryParams& p) {
  return map<T, bool>(ctx, p, Equal());
}
template <class T>
Status ne(Context& ctx, const BinaryParams& p) {
  return map<T, bool>(ctx, p, NotEqual());
}
template <class T>
Status lt(Context& ctx, const BinaryParams& p) {
  return map<T, bool>(ctx, p, Less());
}
template <class T>
Status le(Context& ctx, const BinaryParams& p) {
  return map<T, bool>(ctx, p, LessEqual());
}

struct And {
  __device__ uint8_t operator()(uint8_t a, uint8_t b) const { return a & b; }
};
struct Or {
  __device__ uint8_t operator()(uint8_t a, uint8_t b) const { return a | b; }
};
struct Not {
  __device__ uint8_t operator()(uint8_t a) const { return a ^ 1; }
};
template <class T>
Status logical_and(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, And());
}
template <class T>
Status logical_or(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Or());
}
template <class T>
Status logical_not(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Not());
}

struct Where {
  template <class T>
  __device__ T operator()(uint8_t condition, T a, T b) const {
    return condition != 0 ? a : b;
  }
};
template <class T>
Status where(Context& ctx, const WhereParams& p) {
  return map<T>(ctx, p, Where());
}

}  // namespace

FASTNN_EXPORT_PART(ElementwiseTable, elementwise, FASTNN_ELEMENTWISE)

}  // namespace fastnn::cuda
