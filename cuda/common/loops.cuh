// Elementwise kernels over a Loop<N>: map<Out, In...>(ctx, loop, {{y, x...}}, f) writes y = f(x...) for every
// element. f is called with a Scalar<In> for each input (a bool for bool) and gives a Scalar<Out> (a bool).
// Every element goes through the same arithmetic whatever its layout, alignment or place.
//
// Such a kernel is bound by the bytes it moves, so what counts is how they are asked for: a thread takes
// vectors of 16 bytes of the widest operand, two or four of them at once; 2048 threads with two 16-byte loads
// each keep 64 KB in flight on a multiprocessor, twice what latency times bandwidth ask for on an H100.
//
// There is one kernel for an f and its types: it reads operands whose last dimension is contiguous and
// aligned, or repeats one element, in whole vectors. An operand of any other layout is copied to scratch
// memory first (strided_copy.cuh), and an output is copied from there. That costs what is copied twice more;
// a kernel per layout would cost its compilation, and its bytes, for every op and type there is.
//
// Indices are 32 bits wide and decoded by multiplication, offsets are 64 bits. A nest of more than 2^30
// elements is cut into several launches.
#pragma once
#include "cuda/common/scalar.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {

constexpr int kMapThreads = 256;
constexpr int64_t kMapElements = 1 << 30;  // of one launch

// What a map reads and writes: operand 0 is the output. Operand k is no memory but a number if bit k of
// `immediate` is set: the first bytes of `number`, in the operand's type.
template <int N>
struct Operands {
  const void* at[N];
  unsigned immediate = 0;
  uint64_t number = 0;
};

// ---- the nest as a kernel sees it: indices count vectors of V elements along the last dimension

template <int N>
struct Walk {
  char* base[N];
  int64_t stride[N][kMaxDims];  // in elements, from one index to the next
  FastDivide extent[kMaxDims];
  int ndim;
  unsigned count;      // indices
  unsigned rest;       // elements beyond the last vector of a nest of one dimension
  unsigned repeated;   // bit k: operand k is one element along the last dimension
  unsigned immediate;  // bit k: operand k is `number`
  uint64_t number;
  unsigned tile;  // indices that a block takes, `step` apart in a thread
  unsigned step;

  // V divides the last dimension, where there are others.
  __host__ Walk(const Loop<N>& loop, char* const (&at)[N], int V, unsigned immediate, uint64_t number)
      : ndim(loop.ndim),
        count(static_cast<unsigned>(loop.numel / V)),
        rest(static_cast<unsigned>(loop.numel % V)),
        repeated(immediate),
        immediate(immediate),
        number(number) {
    const int last = ndim - 1;
    for (int d = 0; d < ndim; ++d) {
      for (int k = 0; k < N; ++k) stride[k][d] = d == last ? loop.stride[k][d] * V : loop.stride[k][d];
      if (d > 0) extent[d] = FastDivide(static_cast<unsigned>(loop.shape[d] / (d == last ? V : 1)));
    }
    for (int k = 0; k < N; ++k) {
      base[k] = at[k];
      if (loop.stride[k][last] == 0) repeated |= 1u << k;
    }
  }
  // Shares indices out, U of them to a thread; returns the blocks that takes. Few are spread over all
  // multiprocessors, one to a thread.
  __host__ unsigned share(const Context& ctx, int U) {
    const bool few = count <= 4u * kMapThreads * static_cast<unsigned>(ctx.multiprocessors);
    tile = few ? kMapThreads : kMapThreads * static_cast<unsigned>(U);
    step = few ? count : kMapThreads;
    const unsigned blocks = ceil_div(count, tile);
    return blocks > 0 ? blocks : 1;
  }

  // The operands' offsets of this thread's U indices, and which of them there are.
  template <int U>
  __device__ void find(int64_t (&offset)[U][N], bool (&inside)[U]) const {
    unsigned index[U];
#pragma unroll
    for (int u = 0; u < U; ++u) {
      index[u] = blockIdx.x * tile + threadIdx.x + u * step;
      inside[u] = index[u] < count;
#pragma unroll
      for (int k = 0; k < N; ++k) offset[u][k] = 0;
    }
#pragma unroll 1
    for (int d = ndim - 1; d > 0; --d) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const unsigned quotient = extent[d].quotient(index[u]);
        const unsigned at = index[u] - quotient * extent[d].divisor;
#pragma unroll
        for (int k = 0; k < N; ++k) offset[u][k] += at * stride[k][d];
        index[u] = quotient;
      }
    }
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
      for (int k = 0; k < N; ++k) offset[u][k] += index[u] * stride[k][0];
  }
};

// ---- kernel

// What f takes and gives for an element of type T.
template <class T>
struct Value {
  using type = Scalar<T>;
  __device__ static Scalar<T> of(T stored) { return Scalar<T>(stored); }
  __device__ static T stored(Scalar<T> value) { return value.v; }
};
template <>
struct Value<bool> {
  using type = bool;
  __device__ static bool of(uint8_t stored) { return stored != 0; }
  __device__ static uint8_t stored(bool value) { return value ? 1 : 0; }
};

// How many vectors a thread has in flight of each of N operands.
template <int N>
constexpr int kUnroll = N <= 2 ? 4 : 2;

// Elements of a vector. Sixteen of a byte each would take a register each.
template <class... T>
constexpr int kMapVector = [](auto... bytes) {
  int widest = 2;
  ((widest = bytes > widest ? bytes : widest), ...);
  return 16 / widest;
}(static_cast<int>(sizeof(T))...);

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
  Vector<Stored<A>, V> head[U];
  Inputs<V, U, Rest...> tail;

  template <int k, int N>
  __device__ void load(const Walk<N>& walk, const int64_t (&offset)[U][N], const bool (&inside)[U]) {
    const Stored<A>* const p = reinterpret_cast<const Stored<A>*>(walk.base[k]);
    if ((walk.repeated >> k & 1) != 0) {
      Stored<A> number, one[U];
      memcpy(&number, &walk.number, sizeof number);
      const bool immediate = (walk.immediate >> k & 1) != 0;
#pragma unroll
      for (int u = 0; u < U; ++u) one[u] = inside[u] && !immediate ? p[offset[u][k]] : number;
#pragma unroll
      for (int u = 0; u < U; ++u)
#pragma unroll
        for (int e = 0; e < V; ++e) head[u].v[e] = one[u];
    } else {
#pragma unroll
      for (int u = 0; u < U; ++u)
        if (inside[u]) head[u] = Vector<Stored<A>, V>::load(p + offset[u][k]);
    }
    tail.template load<k + 1>(walk, offset, inside);
  }
  template <class F, class... Before>
  __device__ auto apply(const F& f, int u, int e, Before... before) const {
    return tail.apply(f, u, e, before..., Value<A>::of(head[u].v[e]));
  }
};

// All loads come before the first store: the output may be one of the inputs, so the compiler keeps their
// order.
template <int V, int U, class F, class Out, class... In>
__device__ void map_some(const F& f, const Walk<1 + sizeof...(In)>& walk,
                         const int64_t (&offset)[U][1 + sizeof...(In)], const bool (&inside)[U]) {
  Inputs<V, U, In...> in = {};
  in.template load<1>(walk, offset, inside);
  Stored<Out>* const y = reinterpret_cast<Stored<Out>*>(walk.base[0]);
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (!inside[u]) continue;
    Vector<Stored<Out>, V> out;
#pragma unroll
    for (int e = 0; e < V; ++e) out.v[e] = Value<Out>::stored(in.apply(f, u, e));
    out.store(y + offset[u][0]);
  }
}

template <class F, class Out, class... In>
__global__ void __launch_bounds__(kMapThreads) map_kernel(F f, Walk<1 + sizeof...(In)> walk) {
  constexpr int N = 1 + sizeof...(In), U = kUnroll<N>, V = kMapVector<Stored<Out>, Stored<In>...>;
  int64_t offset[U][N];
  bool inside[U];
  walk.find(offset, inside);
  map_some<V, U, F, Out, In...>(f, walk, offset, inside);

  if (blockIdx.x + 1 != gridDim.x || threadIdx.x >= walk.rest) return;
  int64_t last[1][N];
#pragma unroll
  for (int k = 0; k < N; ++k)
    last[0][k] = (walk.repeated >> k & 1) != 0 ? 0 : static_cast<int64_t>(walk.count) * V + threadIdx.x;
  map_some<1, 1, F, Out, In...>(f, walk, last, {true});
}

// ---- host

// A map's kernel, to those who know neither its types nor its f.
template <int N>
struct MapKernel {
  int vector, unroll;
  int size[N];  // bytes of an element
  const void* f;
  Status (*run)(const Context& ctx, const void* f, const Walk<N>& walk, unsigned blocks);
};
// Cuts the nest into launches and copies what the kernel cannot read; for N up to 5 (loops.cu).
template <int N>
Status run_map(Context& ctx, const MapKernel<N>& kernel, const Loop<N>& loop, const Operands<N>& operands);

template <class Out, class... In, class F, int N = 1 + sizeof...(In)>
Status map(Context& ctx, const Loop<N>& loop, const Operands<N>& operands, const F& f) {
  const MapKernel<N> kernel{kMapVector<Stored<Out>, Stored<In>...>,
                            kUnroll<N>,
                            {sizeof(Out), sizeof(In)...},
                            &f,
                            [](const Context& ctx, const void* f, const Walk<N>& walk, unsigned blocks) {
                              return launch<map_kernel<F, Out, In...>>(ctx, blocks, kMapThreads, 0,
                                                                       *static_cast<const F*>(f), walk);
                            }};
  return run_map(ctx, kernel, loop, operands);
}

}  // namespace fastnn::cuda
