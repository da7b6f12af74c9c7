// Layer and batch normalisation.
#include "backend/norm.h"
#include "cuda/norm/batch.cuh"
#include "cuda/norm/layer.cuh"

namespace fastnn::cuda {
namespace {

struct BatchLaunch {
  BatchShape shape;
  dim3 grid, block;
  unsigned channel_warps;  // blocks of a warp per channel

  BatchLaunch(const BatchNormParams& p, int V, bool aligned) : shape(BatchShape::of(p, V, aligned)) {
    const bool strip = p.inner == 1;
    grid = strip ? dim3(static_cast<unsigned>(ceil_div<int64_t>(p.c, kStripColumns)),
                        static_cast<unsigned>(shape.chunks))
                 : dim3(static_cast<unsigned>(p.c * shape.chunks));
    block = strip ? dim3(kStripColumns, kStripRows) : dim3(kBatchThreads);
    channel_warps = static_cast<unsigned>(ceil_div<int64_t>(p.c, kRowThreads / kWarpSize));
  }
};

// Calls run.operator()<V, strip, relu>() for the kernels that fit.
template <class T, class F>
Status with_batch(const BatchNormParams& p, const F& run) {
  const bool relu = p.activation == Activation::relu;
  if (p.inner == 1)
    return relu ? run.template operator()<1, true, true>() : run.template operator()<1, true, false>();
  if (p.inner % kVector<T> == 0)
    return relu ? run.template operator()<kVector<T>, false, true>()
                : run.template operator()<kVector<T>, false, false>();
  return relu ? run.template operator()<1, false, true>() : run.template operator()<1, false, false>();
}

template <class T>
Status batch_forward(Context& ctx, const BatchNormParams& p) {
  const bool aligned = vector_aligned(p.x) && vector_aligned(p.y);
  return with_batch<T>(p, [&]<int V, bool strip, bool relu>() {
    const BatchLaunch l(p, V, aligned);
    Status status;
    if (p.training) {
      auto* parts = workspace<Moments<T>>(ctx, static_cast<size_t>(p.c * l.shape.chunks));
      if (!parts) return Status::need_workspace;
      status = launch<batch_moments_kernel<T, V, strip>>(ctx, l.grid, l.block,
                                                         SharedMemory::bytes<Moments<T>>(kBatchThreads),
                                                         parts, static_cast<const T*>(p.x), l.shape);
      if (status != Status::ok) return status;
      const Moments<T>* const all = parts;
      status = launch<batch_finish_kernel<T>>(ctx, l.channel_warps, kRowThreads, 0, p, all, l.shape.chunks);
    } else {
      status = launch<batch_running_kernel<T>>(
          ctx, static_cast<unsigned>(ceil_div<int64_t>(p.c, kRowThreads)), kRowThreads, 0, p);
    }
    if (status != Status::ok) return status;
    return launch<batch_normalize_kernel<T, V, strip, relu>>(ctx, l.grid, l.block, 0, p, l.shape);
  });
}

template <class T>
Status batch_backward(Context& ctx, const BatchNormParams& p) {
  const bool aligned = vector_aligned(p.x) && vector_aligned(p.dy) && vector_aligned(p.dx);
  return with_batch<T>(p, [&]<int V, bool strip, bool relu>() {
    const BatchLaunch l(p, V, aligned);
    T* const means = workspace<T>(ctx, static_cast<size_t>(2 * p.c + 2 * p.c * l.shape.chunks));
    if (!means) return Status::need_workspace;
    Status status = Status::ok;
    if (p.training || p.dweight || p.dbias) {
      auto* const parts = reinterpret_cast<GradientSums<T>*>(means + 2 * p.c);
      status = launch<batch_gradient_sums_kernel<T, V, strip, relu>>(
          ctx, l.grid, l.block, SharedMemory::bytes<GradientSums<T>>(kBatchThreads), parts, p, l.shape);
      if (status != Status::ok) return status;
      const GradientSums<T>* const all = parts;
      status = launch<batch_gradient_finish_kernel<T>>(ctx, l.channel_warps, kRowThreads, 0, p, means, all,
                                                       l.shape.chunks);
    }
    if (status != Status::ok || !p.dx) return status;
    const T* const found = means;
    return launch<batch_gradient_kernel<T, V, strip, relu>>(ctx, l.grid, l.block, 0, p, found, l.shape);
  });
}

}  // namespace

template <class T>
Status layer_norm(Context& ctx, const LayerNormParams& p) {
  return layer_norm_forward<T>(ctx, p);
}
template <class T>
Status layer_norm_backward(Context& ctx, const LayerNormParams& p) {
  return layer_norm_gradients<T>(ctx, p);
}
template <class T>
Status batch_norm(Context& ctx, const BatchNormParams& p) {
  return batch_forward<T>(ctx, p);
}
template <class T>
Status batch_norm_backward(Context& ctx, const BatchNormParams& p) {
  return batch_backward<T>(ctx, p);
}

FASTNN_EXPORT(NormTable, norm, FASTNN_NORM)

}  // namespace fastnn::cuda
