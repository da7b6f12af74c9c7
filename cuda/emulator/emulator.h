// The CUDA emulator: lets kernel files be compiled by a plain C++ compiler and run on the CPU, where every
// mistake of a kernel that its results may not show is found.
//
// Every CUDA thread is a fiber with a stack of its own. Blocks run one after another in an order shuffled by
// a seed; within a block a fiber runs until it waits, and the seed chooses who goes on. Kernels are compiled
// with -fsanitize=thread and linked with our own callbacks instead of the sanitizer's library, so every
// access to memory is looked at. A launch ends with a fault, whose text names kernel, block, thread, place
// and memory, at
//  - an access outside an allocation or a piece of shared memory by as little as a byte, to freed memory, to
//    another device's memory, to the host's memory (but constants) or to another thread's stack;
//  - a read of shared memory that the block has not written, or of device memory that nobody has;
//  - an access outside the operands that the kernel's parameters tell of, or one that they do not allow: a
//    write to what is only read, a read of what is only written (unless the kernel has written it);
//  - a race: two threads touch a byte, one of them writing, neither access ordered before the other by
//    __syncthreads or a __syncwarp of the whole warp, nor both atomic. This does not depend on the schedule:
//    order follows from barriers alone. Between blocks of a launch nothing is ordered;
//  - an address not aligned to its type, an index beyond a local array, a shift by too many bits, a division
//    of integers by zero (with the -fsanitize flags of CMakeLists.txt);
//  - a barrier that some threads of the block cannot reach, or at which they wait in different places; a
//    shuffle, vote or warp barrier without all lanes of its mask; a shuffle from a lane outside the mask;
//  - an asynchronous copy's destination touched between copy and wait (ptx.cuh).
// Fresh device memory is filled with 0xFF, which is NaN.
//
// Not emulated: weaker orders of memory (a fence orders nothing here, so the hand-over of results between
// blocks through a counter is reported as a race), lanes that run in step, time, limits on registers, launch
// bounds, caches, several launches at once (streams run in the order of launches). Uninitialised locals may
// be read; they hold a pattern. Functions of <math.h> round as the host's do. PTX is what ptx.cuh says it is.
//
// FASTNN_EMULATOR_SEED or fastnn_emulator_seed() sets the seed; fastnn_emulator_fault() tells the last fault,
// with places in the code as offsets for addr2line. FASTNN_EMULATOR_DEVICES is the number of devices (2),
// FASTNN_EMULATOR_CAPABILITY their compute capability (80). A barrier or shuffle costs about 30 ns a thread,
// an access to memory 10 ns, a launch 10 us.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cuda/emulator/arithmetic.h"
#include "cuda/emulator/builtins.h"
#include "cuda/emulator/vectors.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // unroll

#define __global__
#define __device__
#define __host__
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ __attribute__((section("fastnn_constant")))

extern "C" {
#ifndef FASTNN_EMULATOR_RUNTIME  // what the compiler would copy unseen
void* memcpy(void*, const void*, size_t) noexcept __asm__("fastnn_emulator_memcpy");
void* memmove(void*, const void*, size_t) noexcept __asm__("fastnn_emulator_memmove");
void* memset(void*, int, size_t) noexcept __asm__("fastnn_emulator_memset");
#endif
void fastnn_emulator_seed(uint64_t seed);
const char* fastnn_emulator_fault();  // in this thread; "" if there was none since the last call
}

namespace fastnn::emulator {

// For the function that calls the kernel: it reads the arguments from the host's memory, as a launch does.
#define FASTNN_EMULATOR_ENTRY __attribute__((no_sanitize("thread", "alignment", "bounds", "shift")))

using Body = void (*)(const void* closure);
bool run_blocks(const char* name, int device, dim3 grid, dim3 block, size_t shared, Body body,
                const void* closure);

// Runs body() as every thread of the grid; false if there was a fault. `name` is launch()'s signature.
template <class F>
bool run(const char* name, int device, dim3 grid, dim3 block, size_t shared, const F& body) {
  return run_blocks(
      name, device, grid, block, shared,
      [](const void* closure) FASTNN_EMULATOR_ENTRY { (*static_cast<const F*>(closure))(); }, &body);
}

// The piece of shared memory at *offset, of exact_bytes; moves *offset on by `bytes`.
void* take_shared(unsigned* offset, size_t bytes, size_t exact_bytes);

// The memory of the emulated devices: allocations with red zones; null where the device has no more. Only
// kernels and copies reach it.
int device_count();
void* allocate(int device, size_t bytes);
void release(int device, void* memory);
bool copy(void* dst, int to, const void* src, int from, size_t bytes);  // below 0: the host

// What the calling thread's launches may touch from now on, besides shared memory; none: anything. An operand
// that is only written may be read where these launches have written it.
struct Operand {
  uintptr_t begin, end;
  bool reads, writes;
};
void expect(const Operand* operands, int count);

}  // namespace fastnn::emulator
