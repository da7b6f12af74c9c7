// Where the time of a thread goes, op by op.
#pragma once
#include <chrono>
#include <map>

#include "core/trace.h"

namespace fastnn {

class Profile final : public Tracer {
 public:
  struct Row {
    int64_t calls = 0, kernels = 0;
    int64_t nanoseconds = 0;         // of the op itself, without the ops within it
    int64_t kernel_nanoseconds = 0;  // of these, in kernels
    double bytes = 0, flops = 0;
  };
  using Key = std::pair<std::string, bool>;  // op, backward

  ~Profile() override { detach(); }
  void start();
  void stop();
  const std::map<Key, Row>& rows() const { return rows_; }
  int64_t nanoseconds() const;  // from start to stop, or until now

  void enter(const char* op, bool backward) override;
  void input(const Operand&) override {}
  void attribute(const Attribute&) override {}
  void output(const Tensor&) override {}
  void leave() override;
  void kernel(const KernelCall& call, int64_t nanoseconds) override;
  void thread_ended() override { end(); }

 private:
  void end();

  using Clock = std::chrono::steady_clock;
  struct Open {
    Row* row;
    Clock::time_point since;
    int64_t inner;  // nanoseconds of the ops within
  };

  std::map<Key, Row> rows_;
  std::vector<Open> open_;
  Clock::time_point started_{};
  int64_t elapsed_ = 0;
  bool running_ = false;
};

}  // namespace fastnn
