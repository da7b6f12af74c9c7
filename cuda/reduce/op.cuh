// What the reductions compute: how a thread takes in elements, how two partial results become one, and what
// is written. reduce.cu has the walks over memory.
//
// An Op has a State, the result of a part; and a Local<A>, a thread's accumulators while it reads. see(x, a,
// r, n) takes in element r of the thread's chunk, where a = r mod A; r >= n stands for no element, x is 0
// then.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

struct Result {
  void* y;
  int64_t* index;
  double scale;
};

template <class T>
struct accumulator {  // integers and bools: modulo 2^64
  using type = unsigned long long;
};
template <>
struct accumulator<float> {
  using type = float;
};
template <>
struct accumulator<double> {
  using type = double;
};

// Sums of floats follow one tree: element r of a chunk is added to lane r mod kLanes, lanes are combined in
// pairs of neighbours, and so on. A thread of either walk holds neighbouring lanes. Integers need no tree.
template <class T>
struct Sum {
  using Element = T;
  using State = typename accumulator<T>::type;
  static constexpr bool kTree = dtype_of<T> == DType::float32 || dtype_of<T> == DType::float64;
  static constexpr int kLanes = kTree ? 512 / static_cast<int>(sizeof(T)) : 128;

  template <int A>
  struct Local {
    State lane[kTree ? A : 1] = {};
    __device__ void see(T x, int a, int, int) {
      if constexpr (kTree)
        lane[a] += x;
      else
        lane[0] += static_cast<State>(static_cast<int64_t>(x));
    }
    __device__ State finish(int64_t) {
      if constexpr (kTree)
#pragma unroll
        for (int step = 1; step < A; step *= 2)
#pragma unroll
          for (int i = 0; i + step < A; i += 2 * step) lane[i] += lane[i + step];
      return lane[0];
    }
  };
  __device__ static State identity() { return State(0); }
  __device__ static State combine(State a, State b) { return a + b; }
  __device__ static State shuffle(State a, int distance) { return __shfl_xor_sync(kFullWarp, a, distance); }
  __device__ static void store(const Result& result, int64_t output, State sum) {
    if constexpr (kTree)
      static_cast<T*>(result.y)[output] = static_cast<T>(static_cast<double>(sum) * result.scale);
    else
      static_cast<int64_t*>(result.y)[output] = static_cast<int64_t>(sum);
  }
};

// ---- maxima and minima: the first NaN, else the first of the best -----------------------------------------
template <class T>
struct comparable {
  using type = T;
};
template <>
struct comparable<uint8_t> {
  using type = int32_t;
};

template <class T>
__device__ T lowest() {
  if constexpr (dtype_of<T> == DType::float32 || dtype_of<T> == DType::float64)
    return static_cast<T>(-__builtin_inff());
  else
    return static_cast<T>(uint64_t{1} << (8 * sizeof(T) - 1));
}

// What a part's best begins with loses to every element but an equal one, and to that it may lose too: then
// all elements are equal, and the first is at position 0, which kNowhere stands for.
template <class T, bool largest>
struct Best {
  using Element = T;
  using Value = typename comparable<T>::type;
  static constexpr bool kTree = false;
  static constexpr int kLanes = 128, kNowhere = INT32_MAX;
  struct State {
    Value value;
    int64_t position;
  };

  __device__ static bool replaces(Value x, Value best) {
    const bool better = largest ? x > best : x < best;
    if constexpr (dtype_of<T> == DType::float32 || dtype_of<T> == DType::float64)
      return better || (x != x && best == best);
    else
      return better;
  }
  __device__ static Value worst() {
    if constexpr (largest)
      return lowest<Value>();
    else if constexpr (dtype_of<T> == DType::float32 || dtype_of<T> == DType::float64)
      return -lowest<Value>();
    else
      return ~lowest<Value>();
  }

  template <int A>
  struct Local {
    Value best = worst();
    int position = kNowhere;
    __device__ void see(T x, int, int r, int n) {
      const Value value = static_cast<Value>(x);
      const bool take = r < n && replaces(value, best);
      best = take ? value : best;
      position = take ? r : position;
    }
    __device__ State finish(int64_t first) const {
      return {best, position == kNowhere ? INT64_MAX : first + position};
    }
  };
  __device__ static State identity() { return {worst(), INT64_MAX}; }
  __device__ static State combine(const State& a, const State& b) {
    if (replaces(b.value, a.value)) return b;
    if (replaces(a.value, b.value)) return a;
    return b.position < a.position ? b : a;
  }
  __device__ static State shuffle(const State& a, int distance) {
    return {__shfl_xor_sync(kFullWarp, a.value, distance), __shfl_xor_sync(kFullWarp, a.position, distance)};
  }
  __device__ static void store(const Result& result, int64_t output, const State& best) {
    if (result.y) static_cast<T*>(result.y)[output] = static_cast<T>(best.value);
    if (result.index) result.index[output] = best.position == INT64_MAX ? 0 : best.position;
  }
};

}  // namespace fastnn::cuda
