// What a kernel is handed besides its parameters: threads or a stream, scratch memory, and a flag that asks
// it to stop.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <atomic>

namespace fastnn {

struct BadIndex;

enum class Status : int { ok, need_workspace, cancelled, device_error };

// How exact float32 matrix products and convolutions are. `fp32` is always allowed to a kernel. The others
// allow algorithms that round a few bits more than sums in any order do; all but `fp32_fast` also let it
// round operands to fewer bits for tensor cores, summing in float32.
enum class Precision : int { fp32, fp32_fast, tf32, bf16, fp16 };

constexpr int kTickets = 1024;

struct Context {
  int threads = 1;  // how many may run at once; results never depend on it
  Precision precision = Precision::fp32;
  int64_t l2 = 256 << 10;  // bytes of cache that a core of the CPU has; what is cut by them keeps its bits

  // CUDA only
  void* stream = nullptr;
  int device = 0;
  int stream_number = 0;
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  unsigned queued = 0;          // calls of kernels since the stream was last seen idle
  unsigned* tickets = nullptr;  // kTickets zeros, which a kernel leaves as zeros: its blocks count themselves

  // Scratch memory. A kernel asks once, before it writes anything; see workspace().
  char* scratch = nullptr;
  size_t scratch_bytes = 0;
  size_t scratch_needed = 0;

  BadIndex* bad_index = nullptr;  // where a kernel notes an index that is out of range (bad_index.h)

  const std::atomic<bool>* cancel = nullptr;  // set: stop at the next tile
  bool cancelled() const { return cancel->load(std::memory_order_relaxed); }

  // Runs body(arg, task) for task in [0, tasks) on up to `threads` threads, in any order, and waits for them.
  using Body = void (*)(void* arg, int64_t task, int worker);
  void (*run_tasks)(const Context&, int64_t tasks, Body body, void* arg) = nullptr;
};

// Scratch of at least `bytes`, 64-byte aligned, or null: then the kernel returns Status::need_workspace at
// once, and the launcher makes room and calls it again. So a kernel states its need in one place and never
// allocates.
template <class T>
T* workspace(Context& ctx, size_t count) {
  const size_t bytes = count * sizeof(T);
  if (bytes <= ctx.scratch_bytes) return reinterpret_cast<T*>(ctx.scratch);
  ctx.scratch_needed = bytes;
  return nullptr;
}

// Below this many nanoseconds of estimated work on one core a second thread costs more than it brings.
constexpr double kSerialBelow = 12e3;

// Calls f(task, worker) for every task in [0, tasks). `nanoseconds` estimates the work of all tasks together
// on one core; it decides only whether other threads are woken. How the work is cut into tasks depends on
// shapes alone, or is nothing that an element of the result could tell: that is what makes results the same
// for any number of threads. `worker` is in [0, ctx.threads): an index into per-thread scratch.
template <class F>
Status parallel_for(Context& ctx, int64_t tasks, double nanoseconds, F&& f) {
  if (tasks <= 1 || ctx.threads <= 1 || nanoseconds < kSerialBelow) {
    for (int64_t task = 0; task < tasks; ++task) {
      if (ctx.cancelled()) return Status::cancelled;
      f(task, 0);
    }
    return ctx.cancelled() ? Status::cancelled : Status::ok;  // a task may have stopped half way
  }
  struct Job {
    F* f;
    const Context* ctx;
  } job{&f, &ctx};
  ctx.run_tasks(
      ctx, tasks,
      [](void* arg, int64_t task, int worker) {
        Job& j = *static_cast<Job*>(arg);
        if (!j.ctx->cancelled()) (*j.f)(task, worker);
      },
      &job);
  return ctx.cancelled() ? Status::cancelled : Status::ok;
}

}  // namespace fastnn
