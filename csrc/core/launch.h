// The one way from an op to a kernel: pick it by device and dtype, give it scratch, let other Python threads
// run while it takes long, turn its Status into an error.
#pragma once
#include <chrono>
#include <optional>

#include "backend/backend.h"
#include "core/hooks.h"
#include "core/tensor.h"
#include "core/trace.h"

namespace fastnn {

constexpr double kUnlockAbove = 20e3;  // nanoseconds; giving the lock back costs some 100
constexpr double kWatchSignalsAbove = 20e6;

// While it lives, on the host's main thread, SIGINT also sets ctx.cancel.
class InterruptWatch {
 public:
  InterruptWatch(Context& ctx, bool wanted);
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

 private:
  Context& ctx_;
  const std::atomic<bool>* previous_ = nullptr;
};

// Whether queueing the next kernel may have to wait: a stream takes about a thousand launches, and an op is
// at most some fifteen.
constexpr int kSurelyQueued = 64;
bool queue_may_be_full(Context& ctx, const Backend& backend);

[[noreturn]] void fail_launch(const char* op, Status status, Device device);
[[noreturn]] void fail_no_kernel(const char* op, DType dtype, Device device);
// The calling thread's; kernels of matrix products and convolutions read it.
Precision precision();
void set_precision(Precision precision);

// The operands of a launch that somebody wants to know of: a tracer, or a backend that checks bounds.
class Watched {
 public:
  void add(const Touch& touch) {
    if (touch.data) touches_.push_back(touch);
  }
  void begin(Context& ctx, const Backend& backend);
  void finished() { until_ = std::chrono::steady_clock::now(); }
  void end(Context& ctx, const Backend& backend, KernelCall call);

 private:
  std::vector<Touch> touches_;
  std::chrono::steady_clock::time_point since_, until_;
};

// Raises the error of an index that a kernel found out of range, if there is one (backend/bad_index.h). For
// whoever has just waited for the device.
void raise_bad_index(const Backend& backend, Device device);

// FASTNN_SYNC=1: every launch waits for its kernel, so that an error on the device is reported by its op.
bool waits_for_kernels();

// Whether a kernel may be stopped half way, and run again: what writes nothing but new tensors.
template <class P>
bool may_be_cancelled(const P& params) {
  if constexpr (requires { params.cancellable(); })
    return params.cancellable();
  else
    return requires { P::kCancellable; };
}

template <class P>
void launch_kernel(const char* op, const Backend& backend, const KernelRow<P>& row, DType dtype,
                   Device device, const P& params) {
  const auto kernel = row.fn[static_cast<int>(dtype)];
  if (!kernel) [[unlikely]]
    fail_no_kernel(op, dtype, device);
  Context& ctx = backend.context(device.index);
  ctx.precision = precision();
  // A device only queues the work: there is nothing to stop, and rarely something to wait for.
  const bool cpu = device.type == DeviceType::cpu;
  const double nanoseconds = cpu ? params.nanoseconds() : 0;
  const bool waits =
      cpu ? nanoseconds > kUnlockAbove : ++ctx.queued > kSurelyQueued && queue_may_be_full(ctx, backend);
  std::optional<Watched> watched;
  if (tracer() || backend.expect) [[unlikely]] {
    watched.emplace();
    params.touches(static_cast<int64_t>(size_of(dtype)), [&](const Touch& touch) { watched->add(touch); });
    watched->begin(ctx, backend);
  }
  const bool watched_for_signals =
      nanoseconds > kWatchSignalsAbove && may_be_cancelled(params) && host_hooks.main_thread();
  if (watched_for_signals) host_hooks.raise_interrupt();  // one that came while nobody watched
  if constexpr (requires { P::kChecksIndices; })
    if (cpu) ctx.bad_index->taken = 0;  // what a call that was stopped has left
  for (;;) {
    Status status;
    {
      Unlocked scope(waits);
      InterruptWatch watch(ctx, watched_for_signals);
      status = kernel(ctx, params);
      if (watched) [[unlikely]]
        watched->finished();  // without waiting for the interpreter's lock
    }
    if (status == Status::ok && !cpu && (waits_for_kernels() || tracer()))
      status = backend.synchronize(device.index);
    if (watched && !cpu) [[unlikely]]
      watched->finished();
    if (status == Status::ok) {
      if (watched) [[unlikely]]
        watched->end(ctx, backend, {dtype, device, params.flops(), {}});
      if constexpr (requires { P::kChecksIndices; })
        if (cpu ? ctx.bad_index->taken != 0 : waits_for_kernels() || tracer())
          raise_bad_index(backend, device);
      return;
    }
    if (status == Status::need_workspace) {
      if (backend.reserve(ctx, ctx.scratch_needed)) continue;
      empty_cache(device);  // what tensors have left there may be what is missing
      if (!backend.reserve(ctx, ctx.scratch_needed))
        fail(ErrorKind::memory, op, ": out of memory for ", ctx.scratch_needed, " bytes of workspace");
    } else if (status == Status::cancelled) {
      host_hooks.raise_interrupt();  // returns when the host's handler swallowed the signal: then run again
    } else {
      fail_launch(op, status, device);
    }
  }
}
template <auto Row, class P>
void launch(const char* op, DType dtype, Device device, const P& params) {
  const Backend& backend = backend_of(device);
  launch_kernel(op, backend, backend.kernels->row<Row>(), dtype, device, params);
}
template <auto Row, class P>
void launch(const char* op, const Tensor& like, const P& params) {
  launch<Row>(op, like.dtype(), like.device(), params);
}

}  // namespace fastnn
