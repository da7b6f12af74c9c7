// The threads that kernels share. Workers spin briefly between jobs and then sleep; the caller takes part.
// One job runs at a time: a second Python thread that arrives meanwhile runs its tasks itself. After fork()
// the child's pool starts anew.
#pragma once
#include "backend/context.h"

namespace fastnn {

int available_cores();  // CPU affinity and the cgroup's quota

constexpr int kMostThreads = 1024;
int num_threads();
void set_num_threads(int threads);  // 1 to kMostThreads

void run_tasks(const Context& ctx, int64_t tasks, Context::Body body, void* arg);

}  // namespace fastnn
