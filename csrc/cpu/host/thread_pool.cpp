#include "cpu/host/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace fastnn {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A job is open while tasks are handed out. Workers enter an open job and leave it; the caller closes it when
// the tasks have run out and waits for those inside. One that wakes too late finds it closed: nobody ever
// waits for a sleeper.
class ThreadPool {
 public:
  void run(const Context& ctx, int64_t tasks, Context::Body body, void* arg) {
    std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy || inside_pool) {
      for (int64_t task = 0; task < tasks; ++task) body(arg, task, 0);
      return;
    }
    const int threads = static_cast<int>(std::min<int64_t>(ctx.threads, tasks));
    grow(threads - 1);
    caller_core_ = sched_getcpu();
    body_ = body, arg_ = arg, wanted_ = threads;
    ranges_ = std::min(threads, kMostRanges);
    for (int i = 0; i < ranges_; ++i) {
      range_[i].next.store(tasks * i / ranges_, std::memory_order_relaxed);
      range_[i].end = tasks * (i + 1) / ranges_;
    }
    state_.store(((state_.load() >> kEpochShift) + 1) << kEpochShift | kOpen, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(sleep_);
      wake_.notify_all();
    }
    inside_pool = true;
    work(0);
    inside_pool = false;
    state_.fetch_and(~kOpen);
    while (state_.load(std::memory_order_acquire) & kInside) pause();
  }

 private:
  static constexpr uint64_t kInside = 0xffff, kOpen = 1 << 16;
  static constexpr int kEpochShift = 17;
  // Some tens of microseconds: the usual gap between two kernels of a training step.
  static constexpr int kSpins = 2000;

  // Tasks are handed out in as many ranges as there are threads. Each thread begins with its own, which it
  // had in the kernel before too, so that it reads memory in one run and often finds in its cache what it
  // wrote there; then it helps the others. Against one range for all, with two threads: softmax of 4096x1000
  // takes a third less time, SGD over 10 million parameters a quarter.
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  static constexpr int kMostRanges = 64;

  void work(int worker) {
    for (int i = 0; i < ranges_; ++i) {
      Range& range = range_[(worker + i) % ranges_];
      for (int64_t task; (task = range.next.fetch_add(1, std::memory_order_relaxed)) < range.end;)
        body_(arg_, task, worker);
    }
  }

  void grow(int workers) {
    while (static_cast<int>(count_) < workers) {
      const int id = count_ + 1;
      try {
        std::thread([this, id] { loop(id); }).detach();
      } catch (const std::system_error&) {
        return;  // no room for another stack: those that are there do the work
      }
      count_ = id;
    }
  }

  void loop(int id) {
    inside_pool = true;
    uint64_t seen = 0;
    for (;;) {
      uint64_t state = wait_for_job(seen);
      seen = state >> kEpochShift;
      if (!enter(state)) continue;
      if (sched_getcpu() == caller_core_) leave_core(caller_core_);
      if (id < wanted_) work(id);
      state_.fetch_sub(1, std::memory_order_release);
    }
  }

  // Linux was seen to leave a worker on the caller's core for tens of milliseconds, taking turns with it,
  // while another core idled. Forbidding that core for a moment moves the thread at once.
  static void leave_core(int core) {
    cpu_set_t all, others;
    if (sched_getaffinity(0, sizeof(all), &all) != 0) return;
    others = all;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0) return;
    if (sched_setaffinity(0, sizeof(others), &others) == 0) sched_setaffinity(0, sizeof(all), &all);
  }

  bool enter(uint64_t& state) {
    const uint64_t epoch = state >> kEpochShift;
    while ((state & kOpen) && state >> kEpochShift == epoch)
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) return true;
    return false;
  }

  uint64_t wait_for_job(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      const uint64_t state = state_.load(std::memory_order_acquire);
      if (state >> kEpochShift != seen) return state;
      pause();
    }
    std::unique_lock lock(sleep_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    uint64_t state;
    wake_.wait(lock, [&] { return (state = state_.load(std::memory_order_seq_cst)) >> kEpochShift != seen; });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return state;
  }

  static thread_local bool inside_pool;

  std::mutex busy_;
  std::atomic<uint64_t> state_{0};
  Range range_[kMostRanges];
  Context::Body body_ = nullptr;
  void* arg_ = nullptr;
  int ranges_ = 1, wanted_ = 0, count_ = 0, caller_core_ = -1;

  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
};
thread_local bool ThreadPool::inside_pool = false;

// Replaced in a forked child, where the threads of the parent's pool do not exist; never freed, as they never
// end.
std::atomic<ThreadPool*> current_pool{new ThreadPool};
[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { current_pool = new ThreadPool; });

ThreadPool& pool() { return *current_pool.load(std::memory_order_acquire); }

std::atomic<int> wanted_threads{0};

int cgroup_quota() {
  FILE* file = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return 0;
  long long quota = 0, period = 0;
  const int fields = fscanf(file, "%lld %lld", &quota, &period);
  fclose(file);
  return fields == 2 && quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const int quota = cgroup_quota(); quota > 0 && quota < cores) cores = quota;
  return cores < 1 ? 1 : cores;
}

int num_threads() {
  int n = wanted_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    const char* env = getenv("FASTNN_NUM_THREADS");
    n = std::min(env && atoi(env) > 0 ? atoi(env) : available_cores(), kMostThreads);
    wanted_threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_num_threads(int threads) { wanted_threads.store(threads, std::memory_order_relaxed); }

void run_tasks(const Context& ctx, int64_t tasks, Context::Body body, void* arg) {
  pool().run(ctx, tasks, body, arg);
}

}  // namespace fastnn
