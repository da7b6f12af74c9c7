// Reductions: y[kept] = op over `reduced` of x. The floor is x's bytes, read once.
//
// The R elements behind an output are cut into chunks, a chunk into lanes (op.cuh); partial results of
// several chunks wait in the workspace for the last block that comes to an output. Chunks depend on the
// number of outputs and on R alone, and there are two walks over the same tree, so that a transposed view
// gives the same bits as its copy:
//   rows      up to a warp for a chunk of one output; lanes are neighbours in the sequence of its elements
//   columns   neighbouring outputs side by side, for x that is contiguous along them
#include "backend/reduce.h"
#include "cuda/common/last_block.cuh"
#include "cuda/common/nest.cuh"
#include "cuda/common/strided_copy.cuh"
#include "cuda/common/vector.cuh"
#include "cuda/reduce/op.cuh"

namespace fastnn::cuda {
namespace {

constexpr int64_t kUnits = 8191;       // chunks wanted in all: a few warps for each SM of the largest GPUs
constexpr int64_t kMostChunks = 2048;  // of an output, by kUnits: the last block is soon done
constexpr int64_t kLeastChunk = 1024, kMostChunk = 1 << 30;  // elements; a chunk is counted in int
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kInFlight = 16;  // loads of a thread of the columns' walk
// Its lanes: kFew where outputs are few, so that more threads read for each. Blocks are as large as it takes
// for them to read whole lines of 128 bytes.
constexpr int kFew = 4;
template <class T, int lanes>
constexpr int kColumnThreads = lanes == kFew || sizeof(T) == 1 ? 1024 : 256;
constexpr int kChunkLanes = 32;  // chunks of an output, by their number modulo this, are brought together

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

// The elements behind an output: rows of `row` elements that are `step` apart; rows are `next` apart. One row
// of any length counts as several.
struct Elements {
  static constexpr int64_t kLongestRow = 1 << 30;
  int64_t step, next;
  FastDivide row;
  WideDivide wide_row;

  __host__ static bool fits(const Loop<1>& nest) {
    return nest.ndim == 1 || (nest.ndim == 2 && nest.shape[1] <= kLongestRow);
  }
  __host__ explicit Elements(const Loop<1>& nest) {
    const int last = nest.ndim - 1;
    const int64_t length = most(1, least(nest.shape[last], kLongestRow));
    step = nest.stride[0][last];
    next = last > 0 ? nest.stride[0][0] : length * step;
    row = FastDivide(static_cast<unsigned>(length));
    wide_row = WideDivide(static_cast<uint64_t>(length));
  }
};
// Those of the chunk that begins at element `first`, counted from there.
struct ChunkElements {
  const Elements& e;
  int64_t begin;
  unsigned place;  // of the chunk's first element in its row

  __device__ ChunkElements(const Elements& e, int64_t first) : e(e) {
    const int64_t row = first == 0 ? 0 : e.wide_row.quotient(first);
    begin = row * e.next;
    place = static_cast<unsigned>(first - row * e.row.divisor);
  }
  __device__ int64_t offset(int at) const {
    const unsigned i = place + static_cast<unsigned>(at), row = e.row.quotient(i);
    return begin + row * e.next + (i - row * e.row.divisor) * e.step;
  }
};

// What blocks leave for the last one to come.
template <class Op>
struct Partials {
  typename Op::State* states;  // chunks x outputs
  unsigned* tickets;

  __device__ void put(const Plan& plan, const Op& op, int64_t output, int64_t chunk,
                      const typename Op::State& state) const {
    if (plan.chunks == 1)
      op.store(output, state);
    else
      states[chunk * plan.outputs + output] = state;
  }
  // By a block, for `count` outputs from `output` on; `scratch` holds kChunkLanes * count states.
  __device__ void bring_together(const Plan& plan, const Op& op, int64_t output, int count,
                                 typename Op::State* scratch) const {
    const int threads = static_cast<int>(blockDim.x * blockDim.y),
              thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    for (int i = thread; i < kChunkLanes * count; i += threads) {
      const typename Op::State* const from = states + output + i % count;
      typename Op::State state = Op::identity();
#pragma unroll 8
      for (int64_t c = i / count; c < plan.chunks; c += kChunkLanes)
        state = Op::combine(state, Op::load(from + c * plan.outputs));
      scratch[i] = state;
    }
    for (int half = kChunkLanes / 2 * count; half >= count; half /= 2) {
      __syncthreads();
      for (int i = thread; i < half; i += threads) scratch[i] = Op::combine(scratch[i], scratch[i + half]);
    }
    for (int i = thread; i < count; i += threads) op.store(output + i, scratch[i]);
  }
};

// `group` threads, a power of two up to 32, take a chunk of an output; where there are several, blocks are
// numbered by outputs along x and by chunks, kWarps at a time, along y. With `packed`, kVector elements lie
// together and are aligned wherever a thread reads.
template <class Op>
__global__ void __launch_bounds__(kThreads, 1)
    reduce_rows(const typename Op::Element* x, Nest kept, Elements reduced, Plan plan, int group, bool packed,
                Partials<Op> partials, Op op) {
  using T = typename Op::Element;
  constexpr int V = kVector<T>, U = V > 4 ? 2 : 8;
  const int rank = static_cast<int>(threadIdx.x) & (group - 1);
  const bool whole = plan.chunks == 1;
  const int64_t output =
      whole ? (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / group : blockIdx.x;
  const int64_t chunk = whole ? 0 : blockIdx.y * kWarps + threadIdx.x / kWarpSize;
  const int64_t first = chunk * plan.chunk;
  const bool live = whole ? output < plan.outputs : chunk < plan.chunks;
  const int n = live ? plan.elements(first) : 0;
  const T* const row = x + (live ? kept.offset(output) : 0);
  const ChunkElements elements(reduced, first);

  typename Op::template Local<V> local;
  for (int i = rank * V; i < n; i += group * V * U) {
    Vector<T> batch[U];
    if (packed) {
#pragma unroll
      for (int u = 0; u < U; ++u) {
        const int at = i + u * group * V;
        batch[u] = at + V <= n ? Vector<T>::load(row + elements.offset(at)) : Vector<T>{};
      }
    } else {
#pragma unroll
      for (int u = 0; u < U; ++u)
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const int at = i + u * group * V + v;
          batch[u].v[v] = at < n ? row[elements.offset(at)] : T(0);
        }
    }
#pragma unroll
    for (int u = 0; u < U; ++u) {
      const int at = i + u * group * V, end = packed && at + V > n ? 0 : n;
#pragma unroll
      for (int v = 0; v < V; ++v) local.see(op.key(batch[u].v[v]), v, at + v, end);
    }
  }
  if (packed && n % V && n / V % group == rank) {
    const int at = n - n % V;
#pragma unroll
    for (int v = 0; v < V; ++v)
      if (at + v < n) local.see(op.key(row[elements.offset(at + v)]), v, at + v, n);
  }

  typename Op::State state = local.finish(first);
  for (int distance = 1; distance < group; distance *= 2)
    state = Op::combine(state, Op::shuffle(state, distance));
  if (live && rank == 0) partials.put(plan, op, output, chunk, state);

  if (whole || !is_last_block(partials.tickets + blockIdx.x, gridDim.y)) return;
  SharedMemory shared;
  partials.bring_together(plan, op, output, 1, shared.take<typename Op::State>(kChunkLanes));
}

// States in shared memory of a block of so many columns and threads for each.
__host__ __device__ inline size_t column_states(const Plan& plan, int columns, int threads) {
  const int together = plan.chunks > 1 && threads < kChunkLanes ? kChunkLanes : threads;
  return static_cast<size_t>(columns * together);
}

// blockDim.x outputs, and blockDim.y threads for each: thread y holds lanes y * A to y * A + A - 1.
template <class Op, int A>
__global__ void __launch_bounds__(kColumnThreads<typename Op::Element, A>, 1)
    reduce_columns(const typename Op::Element* x, Nest kept, Elements reduced, Plan plan,
                   Partials<Op> partials, Op op) {
  using T = typename Op::Element;
  constexpr int U = kInFlight / A;
  const int columns = blockDim.x, threads = blockDim.y, y = threadIdx.y;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * columns + threadIdx.x, chunk = blockIdx.y,
                first = chunk * plan.chunk;
  const bool live = output < plan.outputs;
  const int n = live ? plan.elements(first) : 0;
  const T* const column = x + (live ? kept.offset(output) : 0);
  const ChunkElements elements(reduced, first);

  typename Op::template Local<A> local;
  for (int i = y * A; i < n; i += threads * A * U) {
    T batch[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      const int at = i + j / A * threads * A + j % A;
      batch[j] = at < n ? column[elements.offset(at)] : T(0);
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      local.see(op.key(batch[j]), j % A, i + j / A * threads * A + j % A, n);
  }
  typename Op::State state = local.finish(first);

  SharedMemory shared;
  auto* const states = shared.take<typename Op::State>(column_states(plan, columns, threads));
  if (threads > 1) {
    const int place = y * columns + static_cast<int>(threadIdx.x);
    states[place] = state;
    for (int step = 1; step < threads; step *= 2) {
      __syncthreads();
      if (y % (2 * step) == 0) states[place] = Op::combine(states[place], states[place + step * columns]);
    }
    state = states[place];
  }
  if (live && y == 0) partials.put(plan, op, output, chunk, state);

  if (plan.chunks == 1 || !is_last_block(partials.tickets + blockIdx.x, gridDim.y)) return;
  const int64_t left = plan.outputs - static_cast<int64_t>(blockIdx.x) * columns;
  partials.bring_together(plan, op, static_cast<int64_t>(blockIdx.x) * columns,
                          static_cast<int>(left < columns ? left : columns), states);
}

// ---- which walk -------------------------------------------------------------------------------------------

// Elements to be reduced, in a nest that kernels can walk.
struct Source {
  const void* x;
  Loop<2> kept;
  Loop<1> reduced;
};

bool walks_columns(const Source& p) {
  const int kept = p.kept.ndim - 1, reduced = p.reduced.ndim - 1;
  const int64_t along = p.kept.stride[1][kept], across = p.reduced.stride[0][reduced];
  return p.kept.shape[kept] > 1 && p.reduced.shape[reduced] > 1 &&
         (along < 0 ? -along : along) < (across < 0 ? -across : across);
}

template <class T>
bool packs(const Source& p) {
  const int last = p.reduced.ndim - 1;
  if (!vector_aligned(p.x) || p.reduced.stride[0][last] != 1) return false;
  bool even = last == 0 || p.reduced.shape[last] % kVector<T> == 0;
  for (int d = 0; d < last; ++d) even = even && p.reduced.stride[0][d] % kVector<T> == 0;
  for (int d = 0; d < p.kept.ndim; ++d)
    even = even && (p.kept.shape[d] == 1 || p.kept.stride[1][d] % kVector<T> == 0);
  return even;
}

template <class Op>
Status rows(const Context& ctx, const Source& p, const Plan& plan, const Partials<Op>& partials,
            const Op& op) {
  using T = typename Op::Element;
  const int group = power_of_two(ceil_div<int64_t>(least(plan.size, plan.chunk), kVector<T>), kWarpSize);
  const bool whole = plan.chunks == 1;
  const int64_t warps = whole ? kWarps : least(plan.chunks, kWarps);
  const dim3 grid(
      static_cast<unsigned>(whole ? ceil_div<int64_t>(plan.outputs, kThreads / group) : plan.outputs),
      static_cast<unsigned>(whole ? 1 : ceil_div(plan.chunks, warps)));
  return launch<reduce_rows<Op>>(ctx, grid, static_cast<unsigned>(warps * kWarpSize),
                                 whole ? 0 : SharedMemory::bytes<typename Op::State>(kChunkLanes),
                                 static_cast<const T*>(p.x), Nest(p.kept, 1), Elements(p.reduced), plan,
                                 group, packs<T>(p), partials, op);
}

template <class Op, int A>
Status columns_of(const Context& ctx, const Source& p, const Plan& plan, const Partials<Op>& partials,
                  const Op& op) {
  using T = typename Op::Element;
  const int threads = power_of_two(ceil_div<int64_t>(least(plan.size, plan.chunk), A), Op::kLanes / A);
  const int columns = power_of_two(plan.outputs, kColumnThreads<T, A> / threads);
  const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(plan.outputs, columns)),
                  static_cast<unsigned>(plan.chunks));
  const dim3 block(static_cast<unsigned>(columns), static_cast<unsigned>(threads));
  const size_t shared = SharedMemory::bytes<typename Op::State>(column_states(plan, columns, threads));
  return launch<reduce_columns<Op, A>>(ctx, grid, block, shared, static_cast<const T*>(p.x), Nest(p.kept, 1),
                                       Elements(p.reduced), plan, partials, op);
}

template <class Op>
Status walk(const Context& ctx, const Source& p, const Plan& plan, const Partials<Op>& partials,
            const Op& op) {
  if (!walks_columns(p)) return rows(ctx, p, plan, partials, op);
  const bool few = ceil_div<int64_t>(plan.outputs, kWarpSize) * plan.chunks < 3 * ctx.multiprocessors;
  return few || plan.outputs < kWarpSize ? columns_of<Op, kFew>(ctx, p, plan, partials, op)
                                         : columns_of<Op, kInFlight>(ctx, p, plan, partials, op);
}

// The elements behind some outputs, copied to `dense`, one output's after another's.
Status gather(const Context& ctx, int size, const Source& p, char* dense, Source* copy) {
  Loop<2> nest{};
  nest.numel = p.kept.numel * p.reduced.numel;
  const auto add = [&](int64_t extent, int64_t stride) {
    nest.shape[nest.ndim] = extent;
    nest.stride[1][nest.ndim++] = stride;
  };
  for (int d = 0; d < p.kept.ndim; ++d)
    if (p.kept.shape[d] > 1) add(p.kept.shape[d], p.kept.stride[1][d]);
  for (int d = 0; d < p.reduced.ndim; ++d) add(p.reduced.shape[d], p.reduced.stride[0][d]);
  make_dense(nest, 0);
  *copy = {dense,
           {1, p.kept.numel, {p.kept.numel}, {{1}, {p.reduced.numel}}},
           {1, p.reduced.numel, {p.reduced.numel}, {{1}}}};
  return copy_strided(ctx, size, nest, {dense, static_cast<char*>(const_cast<void*>(p.x))});
}

template <class Op>
Status reduce(Context& ctx, const ReduceParams& p, const Op& op) {
  using State = typename Op::State;
  const Plan plan(p.kept.numel, p.reduced.numel);
  if (plan.outputs == 0) return Status::ok;
  const bool direct = plan.size == 0 || Elements::fits(p.reduced);
  // A ticket for each output, where several blocks come to it, else for eight and more.
  const int64_t counted = plan.chunks == 1 ? plan.outputs : plan.chunks > kWarps ? kTickets : 8 * kTickets;
  const int64_t at_once =
      least(least(plan.outputs, counted), direct ? plan.outputs : most(1, kCopiedElements / plan.size));
  const size_t partial = plan.chunks > 1 ? SharedMemory::bytes<State>(plan.chunks * at_once) : 0;
  const size_t copies = direct ? 0 : static_cast<size_t>(at_once * plan.size) * sizeof(typename Op::Element);
  char* const memory = workspace<char>(ctx, partial + copies);
  if (!memory && partial + copies > 0) return Status::need_workspace;
  const Partials<Op> partials{reinterpret_cast<State*>(memory), ctx.tickets};

  // Outputs are numbered by what would be their offset in a tensor of bytes at x.
  char* const x = static_cast<char*>(const_cast<void*>(p.x));
  const int size[2] = {1, sizeof(typename Op::Element)};
  return in_parts(p.kept, {x, x}, size, at_once, [&](const Loop<2>& kept, char* const(&at)[2]) {
    const Source source{at[1], kept, p.reduced};
    Source copy = source;
    Plan part = plan;
    part.outputs = kept.numel;
    const Status status = direct ? Status::ok : gather(ctx, size[1], source, memory + partial, &copy);
    return status == Status::ok ? walk(ctx, copy, part, partials, op.from(at[0] - x)) : status;
  });
}

}  // namespace

template <class T>
Status sum(Context& ctx, const ReduceParams& p) {
  return reduce(ctx, p, Sum<Stored<T>>{p.y, p.scale});
}
template <class T>
Status max(Context& ctx, const ReduceParams& p) {
  return reduce(ctx, p, Largest<Stored<T>>(p.y, p.index, false));
}
template <class T>
Status min(Context& ctx, const ReduceParams& p) {
  return reduce(ctx, p, Largest<Stored<T>>(p.y, p.index, true));
}
template <class T>
Status argmax(Context& ctx, const ReduceParams& p) {
  return reduce(ctx, p, Largest<Stored<T>>(nullptr, p.index, false));
}
template <class T>
Status argmin(Context& ctx, const ReduceParams& p) {
  return reduce(ctx, p, Largest<Stored<T>>(nullptr, p.index, true));
}

FASTNN_EXPORT(ReduceTable, reduce, FASTNN_REDUCE)

}  // namespace fastnn::cuda
