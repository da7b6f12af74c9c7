// Barriers, shuffles, votes and atomics under CUDA's names. Each hands the runtime the place it was called
// from, so that a fault can say who waits where.
#pragma once
#include <stdint.h>

#include <bit>
#include <type_traits>

#include "cuda/emulator/vectors.h"

namespace fastnn::emulator {

struct Site {
  const char* file;
  int line;
};
constexpr unsigned kAllLanes = 0xffffffffu;

// Constant for a thread as long as it lives.
__attribute__((const)) uint3 thread_index();
__attribute__((const)) uint3 block_index();
__attribute__((const)) dim3 block_shape();
__attribute__((const)) dim3 grid_shape();

enum class Barrier { plain, count, all, any };
int block_barrier(Barrier kind, int predicate, Site site);
void warp_barrier(unsigned mask, Site site);

enum class Shuffle { index, up, down, butterfly };
uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int operand, int width, Site site);
unsigned ballot(const char* name, unsigned mask, int predicate, Site site);

enum class Atomic { add, exchange, min, max, bit_and, bit_or, bit_xor, compare_and_swap };
// Applies op to the `bytes` bytes at p and returns what was there.
uint64_t atomic(Atomic op, void* p, int bytes, bool is_signed, uint64_t operand, uint64_t expected);

// What the thread has done before is there for whoever sees an atomic access that it makes after; what was
// there for an atomic access that it has made before is there for the thread.
void fence();

template <class T>
T shuffle_as(Shuffle kind, unsigned mask, T value, int operand, int width, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const uint64_t got = shuffle(kind, mask, std::bit_cast<Bits>(value), operand, width, site);
  return std::bit_cast<T>(static_cast<Bits>(got));
}
template <class T>
T atomic_as(Atomic op, T* p, T operand, T expected = 0) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "only integer atomics give results that do not depend on the schedule");
  return static_cast<T>(atomic(op, p, sizeof(T), std::is_signed_v<T>, static_cast<uint64_t>(operand),
                               static_cast<uint64_t>(expected)));
}

}  // namespace fastnn::emulator

#define threadIdx (::fastnn::emulator::thread_index())
#define blockIdx (::fastnn::emulator::block_index())
#define blockDim (::fastnn::emulator::block_shape())
#define gridDim (::fastnn::emulator::grid_shape())
constexpr int warpSize = 32;

#define FASTNN_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(FASTNN_SITE) {
  fastnn::emulator::block_barrier(fastnn::emulator::Barrier::plain, 0, {file, line});
}
inline int __syncthreads_count(int predicate, FASTNN_SITE) {
  return fastnn::emulator::block_barrier(fastnn::emulator::Barrier::count, predicate, {file, line});
}
inline int __syncthreads_and(int predicate, FASTNN_SITE) {
  return fastnn::emulator::block_barrier(fastnn::emulator::Barrier::all, predicate, {file, line});
}
inline int __syncthreads_or(int predicate, FASTNN_SITE) {
  return fastnn::emulator::block_barrier(fastnn::emulator::Barrier::any, predicate, {file, line});
}
inline void __syncwarp(unsigned mask = fastnn::emulator::kAllLanes, FASTNN_SITE) {
  fastnn::emulator::warp_barrier(mask, {file, line});
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, FASTNN_SITE) {
  return fastnn::emulator::shuffle_as(fastnn::emulator::Shuffle::index, mask, value, lane, width,
                                      {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, FASTNN_SITE) {
  return fastnn::emulator::shuffle_as(fastnn::emulator::Shuffle::up, mask, value, static_cast<int>(delta),
                                      width, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, FASTNN_SITE) {
  return fastnn::emulator::shuffle_as(fastnn::emulator::Shuffle::down, mask, value, static_cast<int>(delta),
                                      width, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, FASTNN_SITE) {
  return fastnn::emulator::shuffle_as(fastnn::emulator::Shuffle::butterfly, mask, value, lane_mask, width,
                                      {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, FASTNN_SITE) {
  return fastnn::emulator::ballot("__ballot_sync", mask, predicate, {file, line});
}
inline int __any_sync(unsigned mask, int predicate, FASTNN_SITE) {
  return fastnn::emulator::ballot("__any_sync", mask, predicate, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, FASTNN_SITE) {
  return fastnn::emulator::ballot("__all_sync", mask, !predicate, {file, line}) == 0;
}
#undef FASTNN_SITE

// Memory is that of one thread, so fences have nothing to do but to order blocks (order.cpp).
inline void __threadfence() { fastnn::emulator::fence(); }
inline void __threadfence_system() { fastnn::emulator::fence(); }
inline void __threadfence_block() {}

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::add, p, v);
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as<T>(fastnn::emulator::Atomic::add, p, T{} - v);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::exchange, p, v);
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::min, p, v);
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::max, p, v);
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::bit_and, p, v);
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::bit_or, p, v);
}
template <class T>
T atomicXor(T* p, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::bit_xor, p, v);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return fastnn::emulator::atomic_as(fastnn::emulator::Atomic::compare_and_swap, p, v, expected);
}

// Loads and stores with a hint for the caches.
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> v) {
  *p = v;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> v) {
  *p = v;
}
