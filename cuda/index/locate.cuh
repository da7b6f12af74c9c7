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
  // Where element i of the list is, by these strides. Decoded anew for each: an array would be local memory.
  __device__ int64_t place(int64_t i, const int64_t* stride) const {
    int64_t at = 0;
#pragma unroll 1
    for (int d = params.ndim - 1; d >= 0; --d) {
      const int64_t quotient = size[d].quotient(i);
      at += (i - quotient * params.shape[d]) * stride[d];
      i = quotient;
    }
    return at;
  }
};

static __global__ void __launch_bounds__(kLocateThreads) locate_offsets(Locate of, BadIndex* note) {
  const LocateParams& p = of.params;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kLocateThreads + threadIdx.x;
  if (i >= p.numel) return;
  int64_t offset = p.start + of.place(i, p.step);
  for (int k = 0; k < p.terms && offset != kNowhere; ++k) {
    const LocateParams::Term& t = p.term[k];
    const int64_t index = t.index[of.place(i, t.stride)];
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
