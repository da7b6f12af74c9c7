// Moving slices of `inner` dense elements to and from listed offsets. Slices that scatter_add and put name
// are one and the same place, or do not overlap.
#include "backend/index.h"
#include "cuda/index/locate.cuh"
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

template <class T>
Status locate(Context& ctx, const LocateParams& p) {
  const unsigned blocks = static_cast<unsigned>(ceil_div<int64_t>(p.numel, kLocateThreads));
  return launch<locate_offsets>(ctx, blocks, kLocateThreads, 0, Locate(p), ctx.bad_index);
}

FASTNN_EXPORT(IndexTable, index, FASTNN_INDEX)

}  // namespace fastnn::cuda
