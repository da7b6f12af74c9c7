#include "core/profile.h"

#include "core/check.h"

namespace fastnn {
namespace {
int64_t since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
      .count();
}
}  // namespace

void Profile::start() {
  check(!running_, ErrorKind::runtime, "profile: it is running already");
  check(!current_tracer(), ErrorKind::runtime, "profile: another profile of this thread is running");
  running_ = true;
  started_ = Clock::now();
  set_tracer(this);
}

void Profile::stop() {
  if (!running_) return;
  detach();
  end();
}

void Profile::end() {
  elapsed_ += since(started_);
  running_ = false;
  open_.clear();
}

int64_t Profile::nanoseconds() const { return elapsed_ + (running_ ? since(started_) : 0); }

void Profile::enter(const char* op, bool backward) {
  Row& row = rows_[{op, backward}];
  ++row.calls;
  open_.push_back({&row, Clock::now(), 0});
}

void Profile::leave() {
  if (open_.empty()) return;  // entered before the profile began
  const Open op = open_.back();
  open_.pop_back();
  const int64_t whole = since(op.since);
  op.row->nanoseconds += whole - op.inner;
  if (!open_.empty()) open_.back().inner += whole;
}

void Profile::kernel(const KernelCall& call, int64_t nanoseconds) {
  Row& row = open_.empty() ? rows_[{"(no op)", false}] : *open_.back().row;
  ++row.kernels;
  row.kernel_nanoseconds += nanoseconds;
  row.flops += call.flops;
  for (const Touch& touch : call.touches)
    row.bytes += static_cast<double>(touch.moved) * (touch.access == Access::update ? 2 : 1);
}

}  // namespace fastnn
