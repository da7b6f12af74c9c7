// Copies, casts, fills and ranges. A copy whose two sides are contiguous along different dimensions (a
// transpose) goes through a tile in shared memory, so that both sides are touched in whole lines.
#include "cuda/common/convert.cuh"
#include "cuda/common/loops.cuh"

namespace fastnn::cuda {
namespace {

// ---- transpose ----

// Elements are moved as bits. A tile's rows are at least 64 bytes long and give each of the 256 threads 16
// loads in flight (4 of 8 bytes). A row in shared memory takes an odd number of banks, so that a column of it
// is read from 32 different ones.
constexpr int kTransposeThreads = 256;
template <class U>
constexpr int kTileEdge = sizeof(U) == 8 ? 32 : 64;
template <class U>
constexpr int kTilePitch = kTileEdge<U> + (sizeof(U) < 4 ? 4 / static_cast<int>(sizeof(U)) : 1);

// y[i * y_stride + j] = x[i + j * x_stride] for i in [0, rows), j in [0, columns), within a nest of the other
// dimensions.
struct Transpose {
  int64_t rows, columns, y_stride, x_stride;
  FastDivide row_tiles, column_tiles;
  int ndim;
  FastDivide extent[kMaxDims];
  int64_t stride[2][kMaxDims];
};

template <class U>
__global__ void __launch_bounds__(kTransposeThreads) transpose_kernel(U* y, const U* x, Transpose t) {
  constexpr int E = kTileEdge<U>, P = kTilePitch<U>, kRows = kTransposeThreads / E;
  U* const tile = SharedMemory().take<U>(E * P);
  unsigned index = t.column_tiles.quotient(blockIdx.x);
  const int64_t j0 = static_cast<int64_t>(blockIdx.x - index * t.column_tiles.divisor) * E;
  unsigned next = t.row_tiles.quotient(index);
  const int64_t i0 = static_cast<int64_t>(index - next * t.row_tiles.divisor) * E;
  for (int d = t.ndim - 1; d >= 0; --d, next = index) {
    index = t.extent[d].quotient(next);
    const unsigned at = next - index * t.extent[d].divisor;
    y += at * t.stride[0][d];
    x += at * t.stride[1][d];
  }
  const int along = threadIdx.x % E, first = threadIdx.x / E;

  U held[E / kRows] = {};
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) {
    const int64_t j = j0 + first + r * kRows;
    if (i0 + along < t.rows && j < t.columns) held[r] = x[i0 + along + j * t.x_stride];
  }
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) tile[(first + r * kRows) * P + along] = held[r];
  __syncthreads();
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) {
    const int i = first + r * kRows;
    if (i0 + i < t.rows && j0 + along < t.columns)
      y[(i0 + i) * t.y_stride + j0 + along] = tile[along * P + i];
  }
}

// The dimension along which `stride` is 1, or -1.
inline int unit_dim(const Loop<2>& loop, const int64_t* stride) {
  for (int d = loop.ndim - 1; d >= 0; --d)
    if (stride[d] == 1) return d;
  return -1;
}

template <class U>
Status transpose(const Context& ctx, const Loop<2>& loop, char* const (&base)[2], int i, int j) {
  constexpr int64_t E = kTileEdge<U>;
  Transpose t{};
  t.rows = loop.shape[i], t.columns = loop.shape[j];
  t.y_stride = loop.stride[0][i], t.x_stride = loop.stride[1][j];
  t.row_tiles = FastDivide(static_cast<unsigned>(ceil_div(t.rows, E)));
  t.column_tiles = FastDivide(static_cast<unsigned>(ceil_div(t.columns, E)));
  unsigned blocks = t.row_tiles.divisor * t.column_tiles.divisor;
  for (int d = 0; d < loop.ndim; ++d) {
    if (d == i || d == j) continue;
    t.extent[t.ndim] = FastDivide(static_cast<unsigned>(loop.shape[d]));
    for (int k = 0; k < 2; ++k) t.stride[k][t.ndim] = loop.stride[k][d];
    blocks *= t.extent[t.ndim++].divisor;
  }
  return launch<transpose_kernel<U>>(ctx, blocks, kTransposeThreads,
                                     SharedMemory::bytes<U>(E * kTilePitch<U>), reinterpret_cast<U*>(base[0]),
                                     reinterpret_cast<const U*>(base[1]), t);
}

// ---- copy and cast ----

struct Identity {
  template <class T>
  __device__ T operator()(T x) const {
    return x;
  }
};
template <class To>
struct Convert {
  template <class From>
  __device__ To operator()(From x) const {
    return convert<To>(x);
  }
};

// The unsigned integer of `size` bytes.
template <size_t size>
struct Bits;
template <>
struct Bits<1> {
  using type = uint8_t;
};
template <>
struct Bits<2> {
  using type = uint16_t;
};
template <>
struct Bits<4> {
  using type = uint32_t;
};
template <>
struct Bits<8> {
  using type = uint64_t;
};

template <class U>
Status copy(Context& ctx, const CastParams& p) {
  constexpr int64_t kShort = 16;  // narrower tiles would leave most threads idle
  char* const base[2] = {static_cast<char*>(p.y), static_cast<char*>(const_cast<void*>(p.x))};
  const int size[2] = {sizeof(U), sizeof(U)};
  if (p.loop.numel == 0) return Status::ok;
  return in_parts(p.loop, base, size, kMapElements, [&](const Loop<2>& part, char* const(&at)[2]) {
    const int j = unit_dim(part, part.stride[0]), i = unit_dim(part, part.stride[1]);
    if (i >= 0 && j >= 0 && i != j && part.shape[i] >= kShort && part.shape[j] >= kShort)
      return transpose<U>(ctx, part, at, i, j);
    return map<U, U>(ctx, part, {at[0], at[1]}, Identity());
  });
}

template <class To, class From>
Status cast_to(Context& ctx, const CastParams& p) {
  if constexpr (dtype_of<To> == dtype_of<From> || dtype_of<To> == dtype_of<Stored<From>>)  // bool to uint8
    return copy<typename Bits<sizeof(To)>::type>(ctx, p);
  else
    return map<Stored<To>, Stored<From>>(ctx, p.loop, {p.y, p.x}, Convert<To>());
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

// ---- fill and arange ----

template <class U>
struct Constant {
  U value;
  __device__ U operator()() const { return value; }
};
template <class T>
Status fill(Context& ctx, const FillParams& p) {
  using U = typename Bits<sizeof(T)>::type;
  T value;
  if constexpr (is_half<T> || is_floating_lane<T>)
    value = convert<T>(p.value);
  else
    value = convert<T>(p.integer);
  return map<U>(ctx, p.loop, {p.y}, Constant<U>{bits_as<U>(value)});
}

// Floating types: start + i step in double; integers exactly.
template <class T>
__global__ void arange_kernel(T* y, int64_t numel, double start, double step) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= numel) return;
  if constexpr (is_floating_lane<T>)
    y[i] = static_cast<T>(start + static_cast<double>(i) * step);
  else
    y[i] = static_cast<T>(static_cast<uint64_t>(static_cast<int64_t>(start)) +
                          static_cast<uint64_t>(i) * static_cast<uint64_t>(static_cast<int64_t>(step)));
}
template <class T>
Status arange(Context& ctx, const ArangeParams& p) {
  const int64_t blocks = ceil_div<int64_t>(p.numel, kMapThreads);
  return launch<arange_kernel<T>>(ctx, static_cast<unsigned>(blocks), kMapThreads, 0, static_cast<T*>(p.y),
                                  p.numel, p.start, p.step);
}

}  // namespace

FASTNN_EXPORT_PART(ElementwiseTable, copy, FASTNN_COPY)

}  // namespace fastnn::cuda
