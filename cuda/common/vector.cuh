// Neighbouring elements of memory, moved by as few instructions as may be: sixteen bytes in one.
#pragma once
#include <string.h>

#include "cuda/common/common.cuh"

namespace fastnn::cuda {

// Elements in sixteen bytes.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

// V elements, a power of two; in memory aligned to their size or, where they are more, to sixteen bytes.
template <class T, int V = kVector<T>>
struct Vector {
  static constexpr int kBytes = V * static_cast<int>(sizeof(T));
  static constexpr int kAlign = kBytes < 16 ? kBytes : 16;
  T v[V];

  __device__ static Vector load(const T* from) {
    Word words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const Word*>(from)[i];
    Vector vector;
    memcpy(vector.v, words, kBytes);
    return vector;
  }
  // The compiler takes some plain stores of vectors apart; these it does not.
  __device__ void store(T* to) const {
    Word words[kWords];
    memcpy(words, v, kBytes);
#pragma unroll
    for (int i = 0; i < kWords; ++i) __stcg(reinterpret_cast<Word*>(to) + i, words[i]);
  }

  // Element by element where memory is not aligned.
  __device__ static Vector load(const T* from, bool aligned) {
    if constexpr (V > 1)
      if (aligned) return load(from);
    Vector vector;
#pragma unroll
    for (int j = 0; j < V; ++j) vector.v[j] = from[j];
    return vector;
  }
  __device__ void store(T* to, bool aligned) const {
    if constexpr (V > 1)
      if (aligned) return store(to);
#pragma unroll
    for (int j = 0; j < V; ++j) to[j] = v[j];
  }

 private:
  using Word = std::conditional_t<
      kBytes >= 16, uint4,
      std::conditional_t<
          kBytes == 8, uint2,
          std::conditional_t<kBytes == 4, uint32_t, std::conditional_t<kBytes == 2, uint16_t, uint8_t>>>>;
  static constexpr int kWords = kBytes / static_cast<int>(sizeof(Word));
};

__host__ __device__ inline bool aligned_to(const void* p, int bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<unsigned>(bytes) == 0;
}
__host__ __device__ inline bool vector_aligned(const void* p) { return aligned_to(p, 16); }

// The smallest power of two that is at least n, and at most `most`.
__host__ inline int power_of_two(int64_t n, int most) {
  int p = 1;
  while (p < n && p < most) p *= 2;
  return p;
}

}  // namespace fastnn::cuda
