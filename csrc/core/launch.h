// The one way from an op to a kernel: pick it by device and dtype, give it scratch, let other Python threads
// run while it takes long, turn its Status into an error.
#pragma once
#include "backend/backend.h"
#include "core/hooks.h"
#include "core/tensor.h"

namespace fastnn {

// Estimated nanoseconds on one core, to decide whether to let go of the host's lock (and to watch for
// Ctrl-C).
template <int N>
double cost(const Loop<N>& loop) {
  return 0.5 * static_cast<double>(loop.numel);
}
template <class P>
double cost(const P& p)
  requires requires { p.loop; }
{
  return cost(p.loop);
}
template <class P>
double cost(const P& p)
  requires requires { p.numel; }
{
  return static_cast<double>(p.numel);
}
inline double cost(const ReduceParams& p) {
  return 0.3 * static_cast<double>(p.kept.numel * p.reduced.numel);
}
inline double cost(const GemmParams& p) {
  return static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k) *
         static_cast<double>(p.batch) / 25;
}
inline double cost(const ConvParams& p) {
  const ConvShape& s = p.shape;
  return static_cast<double>(s.n * s.k * s.p * s.q) * static_cast<double>(s.c / s.groups * s.r * s.s) / 20;
}
inline double cost(const PoolParams& p) { return static_cast<double>(p.planes * p.h * p.w); }
inline double cost(const SoftmaxParams& p) { return static_cast<double>(p.outer * p.size * p.inner); }
inline double cost(const CrossEntropyParams& p) { return static_cast<double>(p.rows * p.classes); }
inline double cost(const LayerNormParams& p) { return static_cast<double>(p.rows * p.size); }
inline double cost(const BatchNormParams& p) { return static_cast<double>(p.n * p.c * p.inner); }
inline double cost(const IndexParams& p) { return static_cast<double>(p.count * p.inner); }
inline double cost(const IndexRangeParams& p) { return static_cast<double>(p.count); }
inline double cost(const SgdParams& p) { return 1000.0 * static_cast<double>(p.count); }
inline double cost(const AdamParams& p) { return 1000.0 * static_cast<double>(p.count); }

// Only kernels that can take very long and write nothing but a new tensor may be stopped half way.
template <class P>
constexpr bool cancellable = false;
template <>
inline constexpr bool cancellable<GemmParams> = true;
template <>
inline constexpr bool cancellable<ConvParams> = true;

constexpr double kUnlockAbove = 20e3;  // nanoseconds; giving the lock back costs some 100
constexpr double kWatchSignalsAbove = 20e6;

// While it lives on the host's main thread, SIGINT also sets ctx.cancel.
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

[[noreturn]] void fail_launch(const char* op, Status status, Device device);
[[noreturn]] void fail_no_kernel(const char* op, DType dtype, Device device);
// The calling thread's; kernels of matrix products and convolutions read it.
Precision precision();
void set_precision(Precision precision);

// FASTNN_SYNC=1: every launch waits for its kernel, so that an error on the device is reported by its op.
bool waits_for_kernels();

template <auto Row, class P>
void launch(const char* op, DType dtype, Device device, const P& params) {
  const Backend& backend = backend_of(device);
  const auto kernel = (backend.kernels->*Row).fn[static_cast<int>(dtype)];
  if (!kernel) [[unlikely]]
    fail_no_kernel(op, dtype, device);
  Context& ctx = backend.context(device.index);
  ctx.precision = precision();
  // A device only queues the work: there is nothing to wait for or to stop.
  const double nanoseconds = device.type == DeviceType::cpu ? cost(params) : 0;
  for (;;) {
    Status status;
    {
      Unlocked scope(nanoseconds > kUnlockAbove);
      InterruptWatch watch(ctx, cancellable<P> && nanoseconds > kWatchSignalsAbove);
      status = kernel(ctx, params);
    }
    if (status == Status::ok && device.type != DeviceType::cpu && waits_for_kernels())
      status = backend.synchronize(device.index);
    if (status == Status::ok) return;
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
void launch(const char* op, const Tensor& like, const P& params) {
  launch<Row>(op, like.dtype(), like.device(), params);
}

}  // namespace fastnn
