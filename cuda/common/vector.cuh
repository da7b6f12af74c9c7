// Sixteen bytes of elements, read or written by one instruction.
#pragma once
#include <string.h>

#include "cuda/common/common.cuh"

namespace fastnn::cuda {

template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <class T>
struct Vector {
  T v[kVector<T>];
};

template <class T>
__device__ Vector<T> load_vector(const T* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  Vector<T> vector;
  memcpy(&vector, &raw, sizeof raw);
  return vector;
}
// One instruction for certain: the compiler takes some plain stores of vectors apart.
template <class Words, class T>
__device__ void store_words(T* to, const Words& words) {
  __stcg(reinterpret_cast<Words*>(to), words);
}
template <class T>
__device__ void store_vector(T* to, const Vector<T>& vector) {
  uint4 raw;
  memcpy(&raw, &vector, sizeof raw);
  store_words(to, raw);
}

__host__ __device__ inline bool vector_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// The smallest power of two that is at least n, and at most `most`.
__host__ inline int power_of_two(int64_t n, int most) {
  int p = 1;
  while (p < n && p < most) p *= 2;
  return p;
}

}  // namespace fastnn::cuda
