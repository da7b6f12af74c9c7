// Reductions: y[kept] = op over `reduced` of x. The floor is x's bytes, read once.
//
// The R elements behind an output are cut into chunks, a chunk into lanes (reduce_op.cuh); partial results of
// several chunks wait in the workspace for a second kernel. Chunks depend on the number of outputs and on R
// alone, and there are two walks over the same tree, so that a transposed view gives the same bits as its
// copy:
//   rows      up to a warp for a chunk of one output; lanes are neighbours in the sequence of its elements
//   columns   neighbouring outputs side by side, for x that is contiguous along them
#include "cuda/common/nest.cuh"
#include "cuda/common/vector.cuh"
#include "cuda/reduce/op.cuh"

namespace fastnn::cuda {
namespace {

constexpr int64_t kUnits = 8191;       // chunks wanted in all: a few warps for each SM of the largest GPUs
constexpr int64_t kMostChunks = 2048;  // of an output, by kUnits: the second kernel stays short
constexpr int64_t kLeastChunk = 1024, kMostChunk = 1 << 30;  // elements; a chunk is counted in int
constexpr int kThreads = 256;
constexpr int kInFlight = 16;  // loads of a thread of the columns' walk
// Its lanes: kFew where outputs are few, so that more threads read for each.
constexpr int kFew = 4;
template <int lanes>
constexpr int kColumnThreads = lanes == kFew ? 512 : 256;
constexpr int kChunkThreads = 256;

__host__ int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
__host__ int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

struct Plan {
  int64_t outputs, size, chunk, chunks;

  __host__ Plan(int64_t outputs, int64_t size) : outputs(outputs), size(size) {
    chunks = least(most(1, kUnits / most(1, outputs)), kMostChunks);
    chunks = most(least(chunks, ceil_div(size, kLeastChunk)), ceil_div(size, kMostChunk));
    chunk = ceil_div(ceil_div(size, most(1, chunks)), kLeastChunk) * kLeastChunk;
    chunks = chunk > 0 ? ceil_div(size, chunk) : 1;
  }
  __device__ int elements(int64_t first) const {
    return static_cast<int>(size - first < chunk ? size - first : chunk);
  }
};

template <class Op>
__device__ void put(const Plan& plan, const Result& result, typename Op::State* partial, int64_t output,
                    int64_t chunk, const typename Op::State& state) {
  if (plan.chunks == 1)
    Op::store(result, output, state);
  else
    partial[chunk * plan.outputs + output] = state;
}

// `group` threads, a power of two up to 32, take a chunk of an output. With `packed`, kVector elements lie
// together and are aligned wherever a thread reads.
template <class Op, bool packed>
__global__ void __launch_bounds__(kThreads, 1)
    reduce_rows(const typename Op::Element* x, Nest kept, Nest reduced, Plan plan, int group,
                typename Op::State* partial, Result result) {
  using T = typename Op::Element;
  constexpr int V = kVector<T>, U = V > 4 ? (packed ? 4 : 2) : 8;
  const int rank = static_cast<int>(threadIdx.x) & (group - 1);
  const int64_t unit = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / group;
  const bool live = unit < plan.outputs * plan.chunks;
  const int64_t output = plan.chunks == 1 ? unit : unit / plan.chunks;
  const int64_t chunk = plan.chunks == 1 ? 0 : unit % plan.chunks, first = chunk * plan.chunk;
  const int n = live ? plan.elements(first) : 0;
  const T* row = x + (live ? kept.offset(output) : 0);

  typename Op::template Local<V> local;
  for (int i = rank * V; i < n; i += group * V * U) {
    Vector<T> batch[U];
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const int at = i + u * group * V;
      if constexpr (packed) {
        batch[u] = at + V <= n ? load_vector(row + reduced.offset(first + at)) : Vector<T>{};
      } else {
#pragma unroll
        for (int v = 0; v < V; ++v) batch[u].v[v] = at + v < n ? row[reduced.offset(first + at + v)] : T(0);
      }
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const int at = i + u * group * V, end = packed && at + V > n ? 0 : n;
#pragma unroll
      for (int v = 0; v < V; ++v) local.see(batch[u].v[v], v, at + v, end);
    }
  }
  if (packed && n % V && n / V % group == rank) {
    const int at = n - n % V;
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (at + v < n) local.see(row[reduced.offset(first + at + v)], v, at + v, n);
  }

  typename Op::State state = local.finish(first);
  for (int distance = 1; distance < group; distance *= 2)
    state = Op::combine(state, Op::shuffle(state, distance));
  if (live && rank == 0) put<Op>(plan, result, partial, output, chunk, state);
}

// blockDim.x outputs, and blockDim.y threads for each: thread y holds lanes y * A to y * A + A - 1.
template <class Op, int A>
__global__ void __launch_bounds__(kColumnThreads<A>, 1)
    reduce_columns(const typename Op::Element* x, Nest kept, Nest reduced, Plan plan,
                   typename Op::State* partial, Result result) {
  using T = typename Op::Element;
  constexpr int U = kInFlight / A;
  const int columns = blockDim.x, threads = blockDim.y, y = threadIdx.y;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * columns + threadIdx.x, chunk = blockIdx.y,
                first = chunk * plan.chunk;
  const bool live = output < plan.outputs;
  const int n = live ? plan.elements(first) : 0;
  const T* column = x + (live ? kept.offset(output) : 0);

  typename Op::template Local<A> local;
  for (int i = y * A; i < n; i += threads * A * U) {
    T batch[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      const int at = i + j / A * threads * A + j % A;
      batch[j] = at < n ? column[reduced.offset(first + at)] : T(0);
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) local.see(batch[j], j % A, i + j / A * threads * A + j % A, n);
  }
  typename Op::State state = local.finish(first);

  if (threads > 1) {
    SharedMemory shared;
    auto* states = shared.take<typename Op::State>(static_cast<size_t>(columns * threads));
    const int place = y * columns + static_cast<int>(threadIdx.x);
    states[place] = state;
    for (int step = 1; step < threads; step *= 2) {
      __syncthreads();
      if (y % (2 * step) == 0) states[place] = Op::combine(states[place], states[place + step * columns]);
    }
    state = states[place];
  }
  if (live && y == 0) put<Op>(plan, result, partial, output, chunk, state);
}

// A block brings an output's chunks together.
template <class Op>
__global__ void __launch_bounds__(kChunkThreads)
    reduce_chunks(const typename Op::State* partial, int64_t outputs, int64_t chunks, Result result) {
  const int64_t output = blockIdx.x;
  typename Op::State state = Op::identity();
  for (int64_t c = threadIdx.x; c < chunks; c += blockDim.x)
    state = Op::combine(state, partial[c * outputs + output]);
  SharedMemory shared;
  auto* states = shared.take<typename Op::State>(kChunkThreads);
  states[threadIdx.x] = state;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      states[threadIdx.x] = Op::combine(states[threadIdx.x], states[threadIdx.x + half]);
  }
  if (threadIdx.x == 0) Op::store(result, output, states[0]);
}

// ---- which walk -------------------------------------------------------------------------------------------
bool walks_columns(const ReduceParams& p) {
  const int kept = p.kept.ndim - 1, reduced = p.reduced.ndim - 1;
  const int64_t along = p.kept.stride[1][kept], across = p.reduced.stride[0][reduced];
  return p.kept.shape[kept] > 1 && p.reduced.shape[reduced] > 1 &&
         (along < 0 ? -along : along) < (across < 0 ? -across : across);
}

template <class T>
bool packs(const ReduceParams& p) {
  const int last = p.reduced.ndim - 1;
  if (!vector_aligned(p.x) || p.reduced.stride[0][last] != 1) return false;
  bool even = last == 0 || p.reduced.shape[last] % kVector<T> == 0;
  for (int d = 0; d < last; ++d) even = even && p.reduced.stride[0][d] % kVector<T> == 0;
  for (int d = 0; d < p.kept.ndim; ++d)
    even = even && (p.kept.shape[d] == 1 || p.kept.stride[1][d] % kVector<T> == 0);
  return even;
}

template <class Op>
Status rows(Context& ctx, const ReduceParams& p, const Plan& plan, typename Op::State* partial,
            const Result& result) {
  using T = typename Op::Element;
  const T* x = static_cast<const T*>(p.x);
  const int group = power_of_two(ceil_div<int64_t>(least(plan.size, plan.chunk), kVector<T>), kWarpSize);
  const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(plan.outputs * plan.chunks, kThreads / group)));
  const Nest kept(p.kept, 1), reduced(p.reduced, 0);
  return packs<T>(p) ? launch<reduce_rows<Op, true>>(ctx, grid, kThreads, 0, x, kept, reduced, plan, group,
                                                     partial, result)
                     : launch<reduce_rows<Op, false>>(ctx, grid, kThreads, 0, x, kept, reduced, plan, group,
                                                      partial, result);
}

template <class Op>
Status columns(Context& ctx, const ReduceParams& p, const Plan& plan, typename Op::State* partial,
               const Result& result) {
  using T = typename Op::Element;
  const T* x = static_cast<const T*>(p.x);
  const Nest kept(p.kept, 1), reduced(p.reduced, 0);
  const int64_t elements = least(plan.size, plan.chunk);
  auto start = [&]<int A>() {
    const int threads = power_of_two(ceil_div<int64_t>(elements, A), Op::kLanes / A);
    const int columns = power_of_two(plan.outputs, kColumnThreads<A> / threads);
    const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(plan.outputs, columns)),
                    static_cast<unsigned>(plan.chunks));
    const size_t shared = SharedMemory::bytes<typename Op::State>(static_cast<size_t>(columns * threads));
    return launch<reduce_columns<Op, A>>(ctx, grid,
                                         dim3(static_cast<unsigned>(columns), static_cast<unsigned>(threads)),
                                         threads > 1 ? shared : 0, x, kept, reduced, plan, partial, result);
  };
  const bool few = ceil_div<int64_t>(plan.outputs, kWarpSize) * plan.chunks < 3 * ctx.multiprocessors;
  return few || plan.outputs < kWarpSize ? start.template operator()<kFew>()
                                         : start.template operator()<kInFlight>();
}

template <class Op>
Status reduce(Context& ctx, const ReduceParams& p, void* y, int64_t* index) {
  const Plan plan(p.kept.numel, p.reduced.numel);
  const Result result{y, index, p.scale};
  typename Op::State* partial = nullptr;
  if (plan.outputs == 0) return Status::ok;
  if (plan.chunks > 1) {
    partial = workspace<typename Op::State>(ctx, static_cast<size_t>(plan.chunks * plan.outputs));
    if (!partial) return Status::need_workspace;
  }
  const Status status =
      walks_columns(p) ? columns<Op>(ctx, p, plan, partial, result) : rows<Op>(ctx, p, plan, partial, result);
  if (status != Status::ok || plan.chunks == 1) return status;
  const int threads = power_of_two(plan.chunks, kChunkThreads);
  return launch<reduce_chunks<Op>>(ctx, static_cast<unsigned>(plan.outputs), static_cast<unsigned>(threads),
                                   SharedMemory::bytes<typename Op::State>(kChunkThreads), partial,
                                   plan.outputs, plan.chunks, result);
}

// Bools are bytes, 0 or 1.
template <class T>
struct stored {
  using type = T;
};
template <>
struct stored<bool> {
  using type = uint8_t;
};
template <class T, bool largest>
using BestOf = Best<typename stored<T>::type, largest>;

}  // namespace

template <class T>
Status sum(Context& ctx, const ReduceParams& p) {
  return reduce<Sum<typename stored<T>::type>>(ctx, p, p.y, nullptr);
}
template <class T>
Status max(Context& ctx, const ReduceParams& p) {
  return reduce<BestOf<T, true>>(ctx, p, p.y, p.index);
}
template <class T>
Status min(Context& ctx, const ReduceParams& p) {
  return reduce<BestOf<T, false>>(ctx, p, p.y, p.index);
}
template <class T>
Status argmax(Context& ctx, const ReduceParams& p) {
  return reduce<BestOf<T, true>>(ctx, p, nullptr, p.index);
}
template <class T>
Status argmin(Context& ctx, const ReduceParams& p) {
  return reduce<BestOf<T, false>>(ctx, p, nullptr, p.index);
}

FASTNN_EXPORT(ReduceTable, reduce, FASTNN_REDUCE)

}  // namespace fastnn::cuda
