// Cross-entropy of rows of logits: loss = log sum e^x - x[label]. The forward pass reads the logits once, the
// backward pass reads them and writes their gradient. The sum or mean of the losses is the last block's
// affair.
#pragma once
#include "backend/softmax.h"
#include "cuda/common/bad_index.cuh"
#include "cuda/common/last_block.cuh"
#include "cuda/softmax/rows.cuh"

namespace fastnn::cuda {

struct MeanTickets {  // of kTickets
  unsigned finished, counted;
};

__device__ inline bool is_class(const CrossEntropyParams& p, int64_t label) {
  return label != p.rule.ignore_index && label >= 0 && label < p.classes;
}

// The sum or mean of all rows' losses, from each block's: `loss` of a thread that has a row, 0 of the others.
template <class T>
__device__ void finish_mean(const CrossEntropyParams& p, T loss, bool counts, T* scratch,
                            MeanTickets* tickets) {
  const int counted = __syncthreads_count(counts);
  T sum = block_reduce(loss, Plus(), T(0), scratch);
  T* const part = static_cast<T*>(p.loss);
  if (threadIdx.x == 0) {
    part[blockIdx.x] = sum;
    atomicAdd(&tickets->counted, static_cast<unsigned>(counted));
  }
  if (!is_last_block(&tickets->finished, gridDim.x)) return;
  sum = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) sum += __ldcg(part + i);
  sum = block_reduce(sum, Plus(), T(0), scratch);
  if (threadIdx.x != 0) return;
  const unsigned all = atomicExch(&tickets->counted, 0u);
  *p.counted = all;
  *static_cast<T*>(p.total) = p.mean ? sum * static_cast<T>(1 / static_cast<double>(all)) : sum;
}

// With `held`, a row is in registers, and its largest element is known before the first exponential; else it
// goes by in one pass.
template <class T, bool held, int N, int V, int most>
__global__ void __launch_bounds__(most, 1)
    cross_entropy_kernel(CrossEntropyParams p, Row<T, V> shape, int threads, BadIndex* note,
                         MeanTickets* tickets) {
  const TeamRow<T> at(threads);
  const bool live = at.row < p.rows;
  const T* x = static_cast<const T*>(p.logits) + at.row * p.classes;
  if (!live) shape.size = 0;
  ExpSum<T> whole;
  for (int64_t i = 0; held ? i == 0 : i < shape.size; i += N * threads) {
    T v[N];
    const Row<T, V> rest{shape.size - i, shape.aligned};
    rest.load_all(at.team, x + i, v, minus_infinity<T>());
    if (held) {
#pragma unroll
      for (int j = 0; j < N; ++j) whole.top = Larger()(v[j], whole.top);
      whole.top = at.team.reduce(whole.top, Larger(), minus_infinity<T>());
#pragma unroll
      for (int j = 0; j < N; ++j) whole.sum += math_exp(v[j] - whole.top);
    } else {
      add_exponentials(whole, v);
    }
  }
  if (held)
    whole.sum = at.team.reduce(whole.sum, Plus(), T(0));
  else
    whole = merge(at.team, whole);
  T loss = 0;
  bool counts = false;
  if (live && at.team.rank == 0) {
    const int64_t label = p.labels[at.row];
    const T log_sum = math_log(whole.sum);
    static_cast<T*>(p.log_sum_exp)[2 * at.row] = whole.top;
    static_cast<T*>(p.log_sum_exp)[2 * at.row + 1] = log_sum;
    counts = label != p.rule.ignore_index;
    // (top - x) is exact where the label's logit is near the top, which keeps small losses accurate.
    if (is_class(p, label))
      loss = (whole.top - x[label]) + log_sum;
    else if (counts)
      note_bad_index(note, p.rule, label);
    if (!p.total) static_cast<T*>(p.loss)[at.row] = loss;
  }
  if (!p.total) return;
  SharedMemory shared;
  if (threads > kWarpSize) shared.take<T>(kWarpSize);  // the team's
  finish_mean(p, loss, counts, shared.take<T>(kWarpSize), tickets);
}

// dx = (softmax(x) - one_hot(label)) dloss; a team has a chunk of a row.
template <class T, int N, int V>
__global__ void __launch_bounds__(kRowThreads, 1)
    cross_entropy_backward_kernel(CrossEntropyParams p, Row<T, V> shape, int threads, int64_t chunk,
                                  int64_t chunks) {
  const int64_t unit = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / threads;
  const int64_t row = chunks == 1 ? unit : unit / chunks, begin = chunks == 1 ? 0 : unit % chunks * chunk;
  if (row >= p.rows) return;
  const Team<T> team{threads, static_cast<int>(threadIdx.x) & (threads - 1), nullptr};
  const int64_t label = p.labels[row];
  const bool ignored = !is_class(p, label);
  const T share = p.mean ? static_cast<T>(1 / static_cast<double>(*p.counted)) : T(1);
  const T factor = (p.dloss ? static_cast<const T*>(p.dloss)[row * p.dloss_stride] : T(1)) * share;
  const T* pair = static_cast<const T*>(p.log_sum_exp) + 2 * row;
  const T top = pair[0], log_sum = pair[1];
  const int64_t end = p.classes - begin < chunk ? p.classes : begin + chunk;
  for (int64_t i = begin; i < end; i += N * threads) {
    T v[N];
    const Row<T, V> rest{end - i, shape.aligned};
    if (!ignored) rest.load_all(team, static_cast<const T*>(p.logits) + row * p.classes + i, v, T(0));
    rest.template each<N>(team, [&](int j, int at) {
#pragma unroll
      for (int c = 0; c < V; ++c) {
        const T g = math_exp(v[j + c] - top - log_sum) * factor;
        v[j + c] = ignored ? T(0) : i + at + c == label ? g - factor : g;
      }
    });
    rest.store_all(team, static_cast<T*>(p.dlogits) + row * p.classes + i, v);
  }
}

template <class T>
Status cross_entropy_forward(Context& ctx, const CrossEntropyParams& p) {
  return with_row<T>(p.classes, vector_aligned(p.logits), [&]<int V>(const Row<T, V>& row) {
    Status status = Status::ok;
    auto run = [&]<bool held, int N, int most>(int threads) {
      const TeamGrid g = team_grid<T>(p.total && p.rows == 0 ? 1 : p.rows, threads);
      const size_t shared = g.shared + (p.total ? SharedMemory::bytes<T>(kWarpSize) : 0);
      status = launch<cross_entropy_kernel<T, held, N, V, most>>(ctx, g.grid, g.block, shared, p, row,
                                                                 threads, ctx.bad_index,
                                                                 reinterpret_cast<MeanTickets*>(ctx.tickets));
    };
    constexpr int64_t kMostHeld = 16384 / sizeof(T);
    if (p.classes > kMostHeld)
      run.template operator()<false, sizeof(T) == 4 ? kHeld<T, 64> : kHeld<T, 32>, kLargestTeam>(
          kLargestTeam);
    else
      with_team<T, 2>(p.classes,
                      [&]<int N, int most>(int threads) { run.template operator()<true, N, most>(threads); });
    return status;
  });
}

template <class T>
Status cross_entropy_gradient(Context& ctx, const CrossEntropyParams& p) {
  const bool aligned = vector_aligned(p.logits) && vector_aligned(p.dlogits);
  return with_row<T>(p.classes, aligned, [&]<int V>(const Row<T, V>& row) {
    const int64_t chunks = ceil_div(p.classes, kLeastChunk), units = p.rows * chunks;
    auto run = [&]<int N>(int threads) {
      return launch<cross_entropy_backward_kernel<T, N, V>>(
          ctx, static_cast<unsigned>(ceil_div<int64_t>(units, kRowThreads / threads)), kRowThreads, 0, p, row,
          threads, kLeastChunk, chunks);
    };
    constexpr int kFew = kFewHeld<T>, kSome = kHeld<T, 64>;
    return p.classes <= kFew * kWarpSize
               ? run.template operator()<kFew>(power_of_two(ceil_div<int64_t>(p.classes, kFew), kWarpSize))
               : run.template operator()<kSome>(p.classes <= 2 * kSome * kWarpSize ? kWarpSize : kRowThreads);
  });
}

}  // namespace fastnn::cuda
