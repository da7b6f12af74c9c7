// What the environment asks of plans of products, to try what the planner would not choose: FASTNN_CUDA_TILE
// names a tile of C (128x256), FASTNN_CUDA_SPLITS in how many parts k is added up. Each is read once.
#pragma once
#include <stdint.h>

#include <string>

namespace fastnn::cuda {

struct ForcedPlan {
  int block_m = 0, block_n = 0;  // 0: as planned; so it is in products that have no such tile
  int64_t splits = 0;            // 0: as planned
};

const ForcedPlan& forced_plan();
// What is wrong with the variables, or nothing. Asked when the library is opened.
const std::string& forced_plan_mistake();

}  // namespace fastnn::cuda
