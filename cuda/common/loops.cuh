// Elementwise kernels over a Loop<N>: map<Out, In...>(ctx, p.loop, {y, x...}, f) writes y = f(x...) for every
// element. Every element goes through the same arithmetic whatever its layout, alignment or place.
//
// Such a kernel is bound by the bytes it moves, so what counts is how they are asked for. Where each
// operand's last dimension is contiguous, or repeats one element, a thread takes vectors of 16 bytes of the
// widest operand, two or four of them at once; 2048 threads with two 16-byte loads each keep 64 KB in flight
// on a multiprocessor, twice what latency times bandwidth ask for on an H100. Any other layout goes element
// by element, four at once.
//
// Indices are 32 bits wide and decoded by multiplication, offsets are 64 bits. A nest of more than 2^30
// elements is cut into several launches.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

constexpr int kMapThreads = 256;
constexpr int64_t kMapElements = 1 << 30;  // of one launch

// In memory a bool is a byte, 0 or 1.
template <class T>
struct stored {
  using type = T;
};
template <>
struct stored<bool> {
  using type = uint8_t;
};
template <class T>
using Stored = typename stored<T>::type;

template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T at[V];
};

// How many vectors (elements) a thread has in flight of each of N operands.
template <int N>
constexpr int kUnroll = N <= 2 ? 4 : 2;

// ---- the nest as a kernel sees it: indices count vectors of V elements along the last dimension ----

// Two dimensions more than a Loop has, for the order in squares below.
constexpr int kWalkDims = kMaxDims + 2;

template <int N>
struct Walk {
  char* base[N];
  int64_t stride[N][kWalkDims];  // in elements, from one index to the next
  FastDivide extent[kWalkDims];
  int ndim;
  unsigned count;  // indices
  unsigned rest;   // elements beyond the last vector of a nest of one dimension
  unsigned splat;  // bit k: operand k repeats one element along the last dimension
  unsigned tile;   // indices that a block takes, `step` apart in a thread
  unsigned step;

  __device__ void offsets(unsigned index, int64_t (&offset)[N]) const {
    for (int k = 0; k < N; ++k) offset[k] = 0;
    for (int d = ndim - 1; d > 0; --d) {
      const unsigned quotient = extent[d].quotient(index);
      const unsigned at = index - quotient * extent[d].divisor;
      for (int k = 0; k < N; ++k) offset[k] += at * stride[k][d];
      index = quotient;
    }
    for (int k = 0; k < N; ++k) offset[k] += index * stride[k][0];
  }
};

// ---- kernel ----

// U vectors of each input, and f of their elements.
template <int V, int U, class... In>
struct Inputs {
  template <int k, int N>
  __device__ void load(const Walk<N>&, const int64_t (&)[U][N], const bool (&)[U]) {}
  template <class F, class... Before>
  __device__ auto apply(const F& f, int, int, Before... before) const {
    return f(before...);
  }
};
template <int V, int U, class A, class... Rest>
struct Inputs<V, U, A, Rest...> {
  Pack<A, V> head[U];
  Inputs<V, U, Rest...> tail;

  template <int k, int N>
  __device__ void load(const Walk<N>& walk, const int64_t (&offset)[U][N], const bool (&inside)[U]) {
    const A* const p = reinterpret_cast<const A*>(walk.base[k]);
    if (V > 1 && (walk.splat >> k & 1) != 0) {
      A one[U];
#pragma unroll
      for (int u = 0; u < U; ++u) one[u] = inside[u] ? p[offset[u][k]] : A();
#pragma unroll
      for (int u = 0; u < U; ++u)
#pragma unroll
        for (int e = 0; e < V; ++e) head[u].at[e] = one[u];
    } else {
#pragma unroll
      for (int u = 0; u < U; ++u)
        if (inside[u]) head[u] = *reinterpret_cast<const Pack<A, V>*>(p + offset[u][k]);
    }
    tail.template load<k + 1>(walk, offset, inside);
  }
  template <class F, class... Before>
  __device__ auto apply(const F& f, int u, int e, Before... before) const {
    return tail.apply(f, u, e, before..., head[u].at[e]);
  }
};

// All loads come before the first store: the output may be one of the inputs, so the compiler keeps their
// order.
template <int V, int U, class F, class Out, class... In>
__device__ void map_some(const F& f, const Walk<1 + sizeof...(In)>& walk,
                         const int64_t (&offset)[U][1 + sizeof...(In)], const bool (&inside)[U]) {
  Inputs<V, U, In...> in = {};
  in.template load<1>(walk, offset, inside);
  Out* const y = reinterpret_cast<Out*>(walk.base[0]);
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (!inside[u]) continue;
    Pack<Out, V> out;
#pragma unroll
    for (int e = 0; e < V; ++e) out.at[e] = static_cast<Out>(in.apply(f, u, e));
    *reinterpret_cast<Pack<Out, V>*>(y + offset[u][0]) = out;
  }
}

template <int V, class F, class Out, class... In>
__global__ void __launch_bounds__(kMapThreads) map_kernel(F f, Walk<1 + sizeof...(In)> walk) {
  constexpr int N = 1 + sizeof...(In), U = kUnroll<N>;
  const unsigned first = blockIdx.x * walk.tile + threadIdx.x;
  int64_t offset[U][N];
  bool inside[U];
#pragma unroll
  for (int u = 0; u < U; ++u) {
    const unsigned index = first + u * walk.step;
    inside[u] = index < walk.count;
    walk.offsets(index, offset[u]);
  }
  map_some<V, U, F, Out, In...>(f, walk, offset, inside);

  if constexpr (V > 1) {
    if (blockIdx.x + 1 != gridDim.x || threadIdx.x >= walk.rest) return;
    int64_t last[1][N];
    for (int k = 0; k < N; ++k)
      last[0][k] = (walk.splat >> k & 1) != 0 ? 0 : static_cast<int64_t>(walk.count) * V + threadIdx.x;
    map_some<1, 1, F, Out, In...>(f, walk, last, {true});
  }
}

// ---- host ----

// Whether each operand can be taken in vectors along the last dimension.
template <int N>
bool in_vectors(const Loop<N>& loop, char* const (&base)[N], const int (&size)[N], int V) {
  const int last = loop.ndim - 1;
  if (loop.numel < V || (last > 0 && loop.shape[last] % V != 0)) return false;
  for (int k = 0; k < N; ++k) {
    const int64_t along = loop.stride[k][last];
    if (along == 0 && k > 0) continue;
    if (along != 1 || reinterpret_cast<uintptr_t>(base[k]) % static_cast<unsigned>(V * size[k]) != 0)
      return false;
    for (int d = 0; d < last; ++d)
      if (loop.stride[k][d] % V != 0) return false;
  }
  return true;
}

// Where an operand is contiguous along another dimension than the last, elements are visited in squares of up
// to 32 x 32: a line that one row of the square brings into the first-level cache then serves the next rows.
template <int N>
void order_in_squares(Loop<N>& loop, int64_t (&shape)[kWalkDims], int64_t (&stride)[N][kWalkDims],
                      int& ndim) {
  const int last = loop.ndim - 1;
  int across = -1;
  for (int k = 0; k < N; ++k)
    for (int d = 0; d < last; ++d)
      if (loop.stride[k][d] == 1 && loop.stride[k][last] > 1) across = d;
  auto side = [](int64_t extent) {
    int64_t power = 1;
    while (power < 32 && extent % (2 * power) == 0) power *= 2;
    return power;
  };
  const int64_t rows = across < 0 ? 1 : side(loop.shape[across]), columns = side(loop.shape[last]);
  const bool squares = rows >= 8 && columns >= 8;
  ndim = 0;
  auto add = [&](int d, int64_t extent, int64_t step) {
    shape[ndim] = extent;
    for (int k = 0; k < N; ++k) stride[k][ndim] = loop.stride[k][d] * step;
    ++ndim;
  };
  for (int d = 0; d <= last; ++d) {
    const int64_t edge = !squares ? 1 : d == across ? rows : d == last ? columns : 1;
    add(d, loop.shape[d] / edge, edge);
  }
  if (!squares) return;
  add(across, rows, 1);
  add(last, columns, 1);
}

template <int V, class F, class Out, class... In, int N = 1 + sizeof...(In)>
Status launch_map(const Context& ctx, const F& f, Loop<N> loop, char* const (&base)[N]) {
  constexpr int U = kUnroll<N>;
  Walk<N> walk{};
  const int last = loop.ndim - 1;
  walk.rest = last == 0 ? static_cast<unsigned>(loop.numel % V) : 0;
  walk.count = static_cast<unsigned>(loop.numel / V);
  loop.shape[last] /= V;
  for (int k = 0; k < N; ++k) {
    walk.base[k] = base[k];
    if (loop.stride[k][last] == 0) walk.splat |= 1u << k;
    loop.stride[k][last] *= V;
  }
  int64_t shape[kWalkDims];
  order_in_squares(loop, shape, walk.stride, walk.ndim);
  for (int d = 1; d < walk.ndim; ++d) walk.extent[d] = FastDivide(static_cast<unsigned>(shape[d]));

  // Few elements are spread over all multiprocessors, one vector a thread.
  const bool few = walk.count <= 4u * kMapThreads * static_cast<unsigned>(ctx.multiprocessors);
  walk.tile = few ? kMapThreads : kMapThreads * U;
  walk.step = few ? walk.count : kMapThreads;
  const unsigned blocks = ceil_div(walk.count, walk.tile);
  return launch<map_kernel<V, F, Out, In...>>(ctx, blocks > 0 ? blocks : 1, kMapThreads, 0, f, walk);
}

// Calls run(loop, base) for parts of at most `limit` elements.
template <int N, class Run>
Status in_parts(const Loop<N>& loop, char* const (&base)[N], const int (&size)[N], int64_t limit,
                const Run& run) {
  if (loop.numel <= limit) return run(loop, base);
  const int64_t inner = loop.numel / loop.shape[0];
  const int64_t rows = inner < limit ? limit / inner : 1;
  for (int64_t row = 0; row < loop.shape[0]; row += rows) {
    Loop<N> part = loop;
    char* at[N];
    part.shape[0] = loop.shape[0] - row < rows ? loop.shape[0] - row : rows;
    part.numel = inner * part.shape[0];
    for (int k = 0; k < N; ++k) at[k] = base[k] + row * loop.stride[k][0] * size[k];
    if (part.shape[0] == 1 && part.ndim > 1) {
      --part.ndim;
      for (int d = 0; d < part.ndim; ++d) {
        part.shape[d] = loop.shape[d + 1];
        for (int k = 0; k < N; ++k) part.stride[k][d] = loop.stride[k][d + 1];
      }
    }
    if (const Status status = in_parts(part, at, size, limit, run); status != Status::ok) return status;
  }
  return Status::ok;
}

// Out and In... are the operands' types in memory; f takes and gives them, or what converts to Out.
template <class Out, class... In, class F, int N = 1 + sizeof...(In)>
Status map(Context& ctx, const Loop<N>& loop, const void* const (&operand)[N], const F& f) {
  constexpr int size[N] = {sizeof(Out), sizeof(In)...};
  constexpr int widest = [](auto... bytes) {
    int most = 1;
    ((most = bytes > most ? bytes : most), ...);
    return most;
  }(static_cast<int>(sizeof(Out)), static_cast<int>(sizeof(In))...);
  constexpr int V = widest == 1 ? 8 : 16 / widest;  // sixteen bytes would each take a register
  if (loop.numel == 0) return Status::ok;
  char* base[N];
  for (int k = 0; k < N; ++k) base[k] = static_cast<char*>(const_cast<void*>(operand[k]));
  return in_parts(loop, base, size, kMapElements, [&](const Loop<N>& part, char* const(&at)[N]) {
    return in_vectors(part, at, size, V) ? launch_map<V, F, Out, In...>(ctx, f, part, at)
                                         : launch_map<1, F, Out, In...>(ctx, f, part, at);
  });
}

template <class T, class F>
Status map(Context& ctx, const UnaryParams& p, const F& f) {
  return map<Stored<T>, Stored<T>>(ctx, p.loop, {p.y, p.x}, f);
}
template <class T, class F>
Status map(Context& ctx, const UnaryGradParams& p, const F& f) {
  return map<T, T, T>(ctx, p.loop, {p.dx, p.dy, p.saved}, f);
}
template <class T, class Out = T, class F>
Status map(Context& ctx, const BinaryParams& p, const F& f) {
  return map<Stored<Out>, Stored<T>, Stored<T>>(ctx, p.loop, {p.out, p.a, p.b}, f);
}
template <class T, class F>
Status map(Context& ctx, const WhereParams& p, const F& f) {
  return map<Stored<T>, uint8_t, Stored<T>, Stored<T>>(ctx, p.loop, {p.out, p.condition, p.a, p.b}, f);
}

}  // namespace fastnn::cuda
