// From indices to offsets: a thread an element of the list. An index out of range is noted, and its offset is
// kNowhere.
#pragma once
#include "backend/index.h"
#include "cuda/common/bad_index.cuh"
#include "cuda/common/nest.cuh"

namespace fastnn::cuda {

constexpr int kLocateThreads = 256;

struct Locate {
  LocateParams params;
  WideDivide size[kMaxDims];

  __host__ explicit Locate(const LocateParams& p) : params(p) {
    for (int d = 0; d < p.ndim; ++d) size[d] = WideDivide(static_cast<uint64_t>(p.shape[d]));
  }
};

static __global__ void __launch_bounds__(kLocateThreads) locate_offsets(Locate of, BadIndex* note) {
  const LocateParams& p = of.params;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kLocateThreads + threadIdx.x;
  if (i >= p.numel) return;
  int64_t at[kMaxDims] = {};
  int64_t rest = i, offset = 0;
  for (int d = p.ndim - 1; d >= 0; --d) {
    const int64_t quotient = of.size[d].quotient(rest);
    at[d] = rest - quotient * p.shape[d];
    rest = quotient;
    offset += at[d] * p.step[d];
  }
  for (int k = 0; k < p.terms && offset != kNowhere; ++k) {
    const LocateParams::Term& t = p.term[k];
    int64_t from = 0;
    for (int d = 0; d < p.ndim; ++d) from += at[d] * t.stride[d];
    const int64_t index = t.index[from];
    if (!t.rule.op) {
      offset += index;
      continue;
    }
    const bool wraps = t.rule.dim != IndexRule::kLabels;
    const int64_t from_start = index < 0 && wraps ? index + t.rule.size : index;
    if (from_start >= 0 && from_start < t.rule.size) {
      offset += from_start * t.step;
    } else {
      note_bad_index(note, t.rule, index);
      offset = kNowhere;
    }
  }
  p.offset[i] = offset;
}

}  // namespace fastnn::cuda
