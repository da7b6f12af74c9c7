// What the reductions compute: how a thread takes in elements, how two partial results become one, and what
// is written. reduce.cu has the walks over memory.
//
// An Op has a State, the result of a part; and a Local<A>, a thread's accumulators while it reads. see(x, a,
// r, n) takes in op.key(element r of the thread's chunk), where a = r mod A; r >= n stands for no element,
// which is read as 0.
#pragma once
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Sums of floats follow one tree: element r of a chunk is added to lane r mod kLanes, lanes are combined in
// pairs of neighbours, and so on. A thread of either walk holds neighbouring lanes. Integers, summed modulo
// 2^64, need no tree.
template <class T>
struct Sum {
  using Element = T;
  using Key = T;
  using State = std::conditional_t<Floating<T>, T, unsigned long long>;
  static constexpr bool kTree = Floating<T>;
  static constexpr int kLanes = kTree ? 512 / static_cast<int>(sizeof(T)) : 128;
  void* y;
  double scale;

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
  __device__ T key(T x) const { return x; }
  __device__ static State identity() { return State(0); }
  __device__ static State combine(State a, State b) { return a + b; }
  __device__ static State shuffle(State a, int distance) { return __shfl_xor_sync(kFullWarp, a, distance); }
  __device__ static State load(const State* from) { return __ldcg(from); }  // which another block has written
  __device__ void store(int64_t output, State sum) const {
    if constexpr (kTree)
      static_cast<T*>(y)[output] = static_cast<T>(static_cast<double>(sum) * scale);
    else
      static_cast<int64_t*>(y)[output] = static_cast<int64_t>(sum);
  }
  // The op that writes the outputs from `output` on.
  __host__ Sum from(int64_t output) const {
    return {static_cast<char*>(y) + output * static_cast<int64_t>(kTree ? sizeof(T) : sizeof(int64_t)),
            scale};
  }
};

// ---- maxima and minima: the first NaN, else the first of the best
//
// A minimum is the maximum of elements with the bits of `flip` turned over: the sign of floats, all bits of
// integers.
//
// What a part's best begins with loses to every element but an equal one, and to that it may lose too: then
// all elements are equal, and the first is at position 0, which kNowhere stands for.
template <class T>
struct Largest {
  using Element = T;
  using Key = std::conditional_t<std::is_same_v<T, uint8_t>, int32_t, T>;
  static constexpr bool kTree = false;
  static constexpr int kLanes = 128, kNowhere = INT32_MAX;
  struct State {
    Key value;
    int64_t position;
  };
  T* y;  // may be null, and so may the other
  int64_t* index;
  Unsigned<Key> flip;

  Largest(void* y, int64_t* index, bool smallest) : y(static_cast<T*>(y)), index(index), flip(0) {
    constexpr Unsigned<Key> kSign = Unsigned<Key>(1) << (8 * sizeof(Key) - 1);
    if (smallest) flip = Floating<T> ? kSign : static_cast<Unsigned<Key>>(-1);
  }

  __device__ Key key(T x) const { return flipped(static_cast<Key>(x)); }
  __device__ static bool replaces(Key x, Key best) {
    if constexpr (Floating<T>)
      return x > best || (x != x && best == best);
    else
      return x > best;
  }
  __device__ static Key worst() {
    if constexpr (Floating<T>)
      return static_cast<Key>(-__builtin_inff());
    else
      return static_cast<Key>(Unsigned<Key>(1) << (8 * sizeof(Key) - 1));
  }

  template <int A>
  struct Local {
    Key best = worst();
    int position = kNowhere;
    __device__ void see(Key x, int, int r, int n) {
      const bool take = r < n && replaces(x, best);
      best = take ? x : best;
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
  __device__ static State load(const State* from) { return {__ldcg(&from->value), __ldcg(&from->position)}; }
  __device__ void store(int64_t output, const State& best) const {
    if (y) y[output] = static_cast<T>(flipped(best.value));
    if (index) index[output] = best.position == INT64_MAX ? 0 : best.position;
  }
  __host__ Largest from(int64_t output) const {
    Largest op = *this;
    op.y = y ? y + output : nullptr, op.index = index ? index + output : nullptr;
    return op;
  }

 private:
  __device__ Key flipped(Key x) const {
    return bits_as<Key>(static_cast<Unsigned<Key>>(bits_as<Unsigned<Key>>(x) ^ flip));
  }
};

}  // namespace fastnn::cuda
