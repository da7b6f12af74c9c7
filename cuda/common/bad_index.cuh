// How a kernel tells of an index that is out of range (backend/bad_index.h). The note lies in memory that the
// host reads without asking the device.
#pragma once
#include "backend/bad_index.h"
#include "cuda/common/common.cuh"

namespace fastnn::cuda {

__device__ inline void note_bad_index(BadIndex* note, const IndexRule& rule, int64_t index) {
  if (atomicCAS(&note->taken, 0u, 1u) != 0) return;  // another thread was first
  note->rule = rule;
  note->index = index;
  __threadfence_system();
  atomicExch(&note->taken, 2u);
}

}  // namespace fastnn::cuda
