// Moving slices of `inner` dense elements to and from listed offsets. Slices that scatter_add and put name
// are one and the same place, or do not overlap.
#include "backend/index.h"
#include "cuda/index/move.cuh"
#include "cuda/index/nonzero.cuh"
#include "cuda/index/scatter.cuh"

namespace fastnn::cuda {

template <class T>
Status gather(Context& ctx, const IndexParams& p) {
  return gather_moves<Unsigned<T>>(ctx, p);
}

template <class T>
Status scatter_add(Context& ctx, const IndexParams& p) {
  return scatter_slices<T>(ctx, p);
}

template <class T>
Status put(Context& ctx, const IndexParams& p) {
  return put_moves<Unsigned<T>>(ctx, p);
}

template <class T>
Status nonzero(Context& ctx, const NonzeroParams& p) {
  return nonzero_offsets(ctx, p);
}

// Of no indices: {INT64_MAX, INT64_MIN}.
template <class T>
Status index_range(Context& ctx, const IndexRangeParams& p) {
  Range* part = workspace<Range>(ctx, kMostRangeBlocks);
  if (!part) return Status::need_workspace;
  return find_range(ctx, p.index, p.count, 1, part, nullptr, p.range);
}

FASTNN_EXPORT(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn::cuda
