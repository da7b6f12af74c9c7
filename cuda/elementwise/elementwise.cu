// Arithmetic, comparisons and elementary functions. Integers wrap around; comparisons and logical operations
// write bools.
#include "cuda/elementwise/params.cuh"

namespace fastnn::cuda {
namespace {

struct Add {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a + b;
  }
};
struct Sub {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a - b;
  }
};
struct Mul {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a * b;
  }
};
struct Div {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a / b;
  }
};
struct Pow {
  template <class W>
  __device__ W operator()(W x, W y) const {
    return pow(x, y);
  }
};
template <class T>
Status add(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Add());
}
template <class T>
Status sub(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Sub());
}
template <class T>
Status mul(Context& ctx, const BinaryParams& p) {
  return map<T>(ctx, p, Mul());
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
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class W>
  __device__ W operator()(W a, W b) const {
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
  template <class W>
  __device__ W operator()(W x) const {
    return -x;
  }
};
struct Abs {
  template <class W>
  __device__ W operator()(W x) const {
    return abs(x);
  }
};
struct Sign {  // -1, 0 or 1; the sign of NaN is NaN, of a zero that zero
  template <class W>
  __device__ W operator()(W x) const {
    return select(x > W::zero(), W::constant(1), select(x < W::zero(), W::constant(-1), x));
  }
};
template <class T>
Status neg(Context& ctx, const UnaryParams& p) {
  return map<T>(ctx, p, Neg());
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
  template <class W>
  __device__ W operator()(W x) const {
    return exp(x);
  }
};
struct Log {
  template <class W>
  __device__ W operator()(W x) const {
    return log(x);
  }
};
struct Sqrt {
  template <class W>
  __device__ W operator()(W x) const {
    return sqrt(x);
  }
};
struct Erf {
  template <class W>
  __device__ W operator()(W x) const {
    return erf(x);
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
  template <class W>
  __device__ bool operator()(W a, W b) const {
    return a == b;
  }
};
struct NotEqual {
  template <class W>
  __device__ bool operator()(W a, W b) const {
    return a != b;
  }
};
struct Less {
  template <class W>
  __device__ bool operator()(W a, W b) const {
    return a < b;
  }
};
struct LessEqual {
  template <class W>
  __device__ bool operator()(W a, W b) const {
    return a <= b;
  }
};
template <class T>
Status eq(Context& ctx, const BinaryParams& p) {
  return map<Stored<T>, bool>(ctx, p, Equal());
}
template <class T>
Status ne(Context& ctx, const BinaryParams& p) {
  return map<Stored<T>, bool>(ctx, p, NotEqual());
}
template <class T>
Status lt(Context& ctx, const BinaryParams& p) {
  return map<Stored<T>, bool>(ctx, p, Less());
}
template <class T>
Status le(Context& ctx, const BinaryParams& p) {
  return map<Stored<T>, bool>(ctx, p, LessEqual());
}

struct And {
  __device__ bool operator()(bool a, bool b) const { return a && b; }
};
struct Or {
  __device__ bool operator()(bool a, bool b) const { return a || b; }
};
struct Not {
  __device__ bool operator()(bool a) const { return !a; }
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
  template <class W>
  __device__ W operator()(bool condition, W a, W b) const {
    return condition ? a : b;
  }
};
template <class T>
Status where(Context& ctx, const WhereParams& p) {
  return map<Unsigned<T>>(ctx, p, Where());  // a choice moves bits, whatever they mean
}

}  // namespace

FASTNN_EXPORT_PART(ElementwiseTable, elementwise, FASTNN_ELEMENTWISE)

}  // namespace fastnn::cuda
