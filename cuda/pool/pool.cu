// Pooling of planes of H x W pixels to P x Q windows. A thread computes one point, or some neighbours, of
// what is written: forward the outputs; backward the pixels, each from the windows that reach over it, so
// that nothing is added to memory and the order of additions is the windows'.
#include "backend/pool.h"
#include "cuda/pool/avg.cuh"
#include "cuda/pool/max.cuh"

namespace fastnn::cuda {
namespace {

template <class F>
Status pool(const PoolParams& p, const F& run) {
  if (p.planes == 0) return Status::ok;
  return countable(p) ? run() : Status::device_error;
}

}  // namespace

template <class T>
Status max_pool2d(Context& ctx, const PoolParams& p) {
  return pool(p, [&] { return launch_max_pool<T>(ctx, p); });
}
template <class T>
Status max_pool2d_backward(Context& ctx, const PoolParams& p) {
  return pool(p, [&] { return launch_max_pool_backward<T>(ctx, p); });
}
template <class T>
Status max_pool2d_gather(Context& ctx, const PoolParams& p) {
  return pool(p, [&] { return launch_max_pool_gather<T>(ctx, p); });
}
template <class T>
Status avg_pool2d(Context& ctx, const PoolParams& p) {
  return pool(p, [&] { return launch_avg_pool<T>(ctx, p); });
}
template <class T>
Status avg_pool2d_backward(Context& ctx, const PoolParams& p) {
  return pool(p, [&] { return launch_avg_pool_backward<T>(ctx, p); });
}

FASTNN_EXPORT(PoolTable, pool, FASTNN_POOL)

}  // namespace fastnn::cuda
