// Copies, casts, fills and ranges.
#include "backend/elementwise.h"
#include "cuda/common/convert.cuh"
#include "cuda/common/strided_copy.cuh"
#include "cuda/elementwise/rows.cuh"

namespace fastnn::cuda {
namespace {

// ---- copy and cast

template <class To>
struct Convert {
  template <class From>
  __device__ auto operator()(Scalar<From> x) const {
    if constexpr (std::is_same_v<To, bool>)
      return convert<bool>(x.v);
    else
      return Scalar<To>(convert<To>(x.v));
  }
};

template <class To, class From>
Status cast_to(Context& ctx, const CastParams& p) {
  if constexpr (dtype_of<To> == dtype_of<From> || dtype_of<To> == dtype_of<Stored<From>>)  // bool to uint8
    return copy_strided(ctx, sizeof(To), p.loop,
                        {static_cast<char*>(p.y), static_cast<char*>(const_cast<void*>(p.x))});
  else
    return map<To, Stored<From>>(ctx, p.loop, {{p.y, p.x}}, Convert<To>());
}
template <class From>
Status cast(Context& ctx, const CastParams& p) {
  switch (p.to) {
    case DType::float32:
      return cast_to<float, From>(ctx, p);
    case DType::float64:
      return cast_to<double, From>(ctx, p);
    case DType::bfloat16:
      return cast_to<bfloat16, From>(ctx, p);
    case DType::float16:
      return cast_to<float16, From>(ctx, p);
    case DType::int64:
      return cast_to<int64_t, From>(ctx, p);
    case DType::int32:
      return cast_to<int32_t, From>(ctx, p);
    case DType::uint8:
      return cast_to<uint8_t, From>(ctx, p);
    default:
      return cast_to<bool, From>(ctx, p);
  }
}

// ---- fill and arange

template <class U>
struct Constant {
  U value;
  __device__ Scalar<U> operator()() const { return Scalar<U>(value); }
};
template <class T>
Status fill(Context& ctx, const FillParams& p) {
  using U = Unsigned<T>;
  T value;
  if constexpr (is_half<T> || Floating<T>)
    value = convert<T>(p.value);
  else
    value = convert<T>(p.integer);
  return map<U>(ctx, p.loop, {{p.y}}, Constant<U>{bits_as<U>(value)});
}

// Floating types: start + i step in double; integers exactly.
template <class T>
__global__ void arange_kernel(ArangeParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.numel) return;
  T* const y = static_cast<T*>(p.y);
  if constexpr (Floating<T>)
    y[i] = static_cast<T>(p.start + static_cast<double>(i) * p.step);
  else
    y[i] = static_cast<T>(static_cast<uint64_t>(p.first) +
                          static_cast<uint64_t>(i) * static_cast<uint64_t>(p.stride));
}
template <class T>
Status arange(Context& ctx, const ArangeParams& p) {
  const int64_t blocks = ceil_div<int64_t>(p.numel, kMapThreads);
  return launch<arange_kernel<T>>(ctx, static_cast<unsigned>(blocks), kMapThreads, 0, p);
}

// ---- choice

struct Where {
  template <class W>
  __device__ W operator()(bool condition, W a, W b) const {
    return select(condition, a, b);
  }
};
template <class T>
Status where(Context& ctx, const ElementwiseParams& p) {
  return map<Lane<T>, bool, Lane<T>, Lane<T>>(ctx, p, Where());
}

}  // namespace

FASTNN_EXPORT_PART(ElementwiseTable, copy, FASTNN_COPY)

}  // namespace fastnn::cuda
