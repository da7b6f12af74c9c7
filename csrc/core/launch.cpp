#include "core/launch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

namespace fastnn {

HostHooks host_hooks;

namespace {
std::atomic<bool> interrupted{false};  // lock-free, as a signal handler needs it
struct sigaction previous_action;
int watchers = 0;  // nested launches on the main thread only

void on_interrupt(int number, siginfo_t* info, void* context) {
  interrupted = true;
  if (previous_action.sa_flags & SA_SIGINFO)
    previous_action.sa_sigaction(number, info, context);
  else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN)
    previous_action.sa_handler(number);
}
}  // namespace

InterruptWatch::InterruptWatch(Context& ctx, bool wanted) : ctx_(ctx) {
  if (!wanted) return;
  previous_ = ctx.cancel;
  interrupted = false;
  ctx.cancel = &interrupted;
  if (watchers++ > 0) return;
  struct sigaction action = {};
  action.sa_sigaction = on_interrupt;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGINT, &action, &previous_action);
}

InterruptWatch::~InterruptWatch() {
  if (!previous_) return;
  ctx_.cancel = previous_;
  if (--watchers == 0) sigaction(SIGINT, &previous_action, nullptr);
}

namespace {
thread_local Precision current_precision = Precision::fp32;
}
Precision precision() { return current_precision; }
void set_precision(Precision precision) { current_precision = precision; }

void Watched::begin(Context& ctx, const Backend& backend) {
  if (backend.expect) backend.expect(ctx, touches_.data(), static_cast<int>(touches_.size()));
  if (tracer() && backend.streams)
    backend.synchronize(ctx.device);  // what was queued before is not this kernel's time
  since_ = std::chrono::steady_clock::now();
}
void Watched::end(Context& ctx, const Backend& backend, KernelCall call) {
  if (backend.expect) backend.expect(ctx, nullptr, 0);
  Tracer* const listener = tracer();
  if (!listener) return;
  call.touches = touches_;
  const auto elapsed = until_ - since_;
  listener->kernel(call, std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
}

bool queue_may_be_full(Context& ctx, const Backend& backend) {
  // Asked now and then, for it costs as much as a launch.
  if (ctx.queued % kSurelyQueued != 1 || !backend.streams->idle(ctx.device, ctx.stream_number)) return true;
  ctx.queued = 0;
  return false;
}

void raise_bad_index(const Backend& backend, Device device) {
  BadIndex bad;
  if (!backend.take_bad_index(device.index, &bad)) [[likely]]
    return;
  const IndexRule& rule = bad.rule;
  // A device that runs behind reports at some later call: say whose index it was.
  const std::string whose =
      device.type == DeviceType::cpu || waits_for_kernels() ? "" : std::string(rule.op) + ": ";
  if (rule.dim == IndexRule::kLabels)
    fail(ErrorKind::index, rule.op, ": label ", bad.index, " is out of range for ", rule.size,
         " classes (0 to ", rule.size - 1, ", or ignore_index ", rule.ignore_index, ")");
  fail(ErrorKind::index, whose, "index ", bad.index, " is out of range for dimension ", rule.dim, " of size ",
       rule.size);
}

bool waits_for_kernels() {
  static const bool wanted = [] {
    const char* setting = getenv("FASTNN_SYNC");
    return setting && *setting && strcmp(setting, "0") != 0;
  }();
  return wanted;
}

void fail_launch(const char* op, Status, Device device) {
  fail(ErrorKind::runtime, op, ": failed on ", device, ": ", backend_of(device).error(),
       device.type == DeviceType::cpu || waits_for_kernels()
           ? ""
           : " (the device runs behind: an earlier op may be the cause; FASTNN_SYNC=1 finds it)");
}

void fail_no_kernel(const char* op, DType dtype, Device device) {
  fail(ErrorKind::type, op, ": not defined for ", dtype, " on ", device,
       dtype == DType::bfloat16 || dtype == DType::float16 ? " (a storage type: compute in float32)" : "");
}

}  // namespace fastnn
