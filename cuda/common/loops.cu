// How a nest of loops becomes launches of a map's kernel.
#include "cuda/common/loops.cuh"

#include "cuda/common/nest.cuh"
#include "cuda/common/strided_copy.cuh"

namespace fastnn::cuda {
namespace {

// A map over one part of its nest.
template <int N>
struct PartOfMap {
  const MapKernel<N>& kernel;
  const Operands<N>& operands;
  Loop<N> loop;
  char* base[N];

  PartOfMap(const MapKernel<N>& kernel, const Operands<N>& operands, const Loop<N>& loop,
            char* const (&at)[N])
      : kernel(kernel), operands(operands), loop(loop) {
    for (int k = 0; k < N; ++k) base[k] = at[k];
  }

  // Whether rows, the last dimension, are whole vectors. If not, and rows are several, the kernel can still
  // take the nest as one long row of dense operands.
  bool whole_rows() const { return loop.ndim == 1 || loop.shape[loop.ndim - 1] % kernel.vector == 0; }

  bool is_readable(int k) const {
    const int last = loop.ndim - 1, V = kernel.vector;
    if ((operands.immediate >> k & 1) != 0 || loop.numel == 1) return true;
    if (loop.stride[k][last] == 0 && k > 0) {
      if (whole_rows()) return true;
      for (int d = 0; d < last; ++d)
        if (loop.stride[k][d] != 0) return false;
      return true;
    }
    // Where there is no whole vector, elements are read one by one.
    if (loop.stride[k][last] != 1 || (loop.numel >= V && !aligned_to(base[k], V * kernel.size[k])))
      return false;
    if (!whole_rows()) return is_dense(loop, k);
    for (int d = 0; d < last; ++d)
      if (loop.stride[k][d] % V != 0) return false;
    return true;
  }
  bool is_readable() const {
    for (int k = 0; k < N; ++k)
      if (!is_readable(k)) return false;
    return true;
  }

  size_t bytes(int k) const {  // of a copy of operand k
    constexpr size_t kAlign = 128;
    return ceil_div(static_cast<size_t>(loop.numel) * static_cast<size_t>(kernel.size[k]), kAlign) * kAlign;
  }
  size_t scratch_bytes() const {
    size_t sum = 0;
    for (int k = 0; k < N; ++k)
      if (!is_readable(k)) sum += bytes(k);
    return sum;
  }

  // Operand k's elements to or from a dense copy of them.
  Status gather(const Context& ctx, int k, char* dense) const {
    return copy_strided(ctx, kernel.size[k], beside_dense(k, 1), {dense, base[k]});
  }
  Status scatter(const Context& ctx, int k, char* dense) const {
    return copy_strided(ctx, kernel.size[k], beside_dense(k, 0), {base[k], dense});
  }
  Loop<2> beside_dense(int k, int side) const {
    Loop<2> nest{};
    nest.ndim = loop.ndim, nest.numel = loop.numel;
    for (int d = 0; d < nest.ndim; ++d) {
      nest.shape[d] = loop.shape[d];
      nest.stride[side][d] = loop.stride[k][d];
    }
    make_dense(nest, 1 - side);
    return nest;
  }

  Status run(const Context& ctx, char* scratch) {
    const PartOfMap given = *this;
    unsigned copied = 0;
    for (int k = 0; k < N; ++k) {
      if (given.is_readable(k)) continue;
      copied |= 1u << k;
      base[k] = scratch;
      make_dense(loop, k);
      scratch += bytes(k);
    }
    if (!whole_rows()) flatten();
    for (int k = 1; k < N; ++k)
      if ((copied >> k & 1) != 0)
        if (const Status status = given.gather(ctx, k, base[k]); status != Status::ok) return status;
    Walk<N> walk(loop, base, kernel.vector, operands.immediate, operands.number);
    const unsigned blocks = walk.share(ctx, kernel.unroll);
    const Status status = kernel.run(ctx, kernel.f, walk, blocks);
    if (status != Status::ok || (copied & 1) == 0) return status;
    return given.scatter(ctx, 0, base[0]);
  }

  // All operands are dense, or one element.
  void flatten() {
    const int last = loop.ndim - 1;
    for (int k = 0; k < N; ++k) loop.stride[k][0] = loop.stride[k][last];
    loop.ndim = 1;
    loop.shape[0] = loop.numel;
  }
};

}  // namespace

template <int N>
Status run_map(Context& ctx, const MapKernel<N>& kernel, const Loop<N>& loop, const Operands<N>& operands) {
  if (loop.numel == 0) return Status::ok;
  char* base[N];
  for (int k = 0; k < N; ++k) base[k] = static_cast<char*>(const_cast<void*>(operands.at[k]));
  PartOfMap<N> whole(kernel, operands, loop, base);
  for (int k = 0; k < N; ++k)
    for (int d = 0; (operands.immediate >> k & 1) != 0 && d < loop.ndim; ++d) whole.loop.stride[k][d] = 0;

  const auto each_part = [&](int64_t limit, const auto& run) {
    return in_parts(whole.loop, base, kernel.size, limit, [&](const Loop<N>& part, char* const(&at)[N]) {
      return run(PartOfMap<N>(kernel, operands, part, at));
    });
  };
  if (whole.is_readable()) {
    if (!whole.whole_rows()) whole.flatten();
    return each_part(kMapElements, [&](PartOfMap<N> part) { return part.run(ctx, nullptr); });
  }
  size_t bytes = 0;
  each_part(kCopiedElements, [&](const PartOfMap<N>& part) {
    const size_t needed = part.scratch_bytes();
    bytes = needed > bytes ? needed : bytes;
    return Status::ok;
  });
  char* const scratch = workspace<char>(ctx, bytes);
  if (!scratch) return Status::need_workspace;
  return each_part(kCopiedElements, [&](PartOfMap<N> part) { return part.run(ctx, scratch); });
}

template Status run_map(Context&, const MapKernel<1>&, const Loop<1>&, const Operands<1>&);
template Status run_map(Context&, const MapKernel<2>&, const Loop<2>&, const Operands<2>&);
template Status run_map(Context&, const MapKernel<3>&, const Loop<3>&, const Operands<3>&);
template Status run_map(Context&, const MapKernel<4>&, const Loop<4>&, const Operands<4>&);
template Status run_map(Context&, const MapKernel<5>&, const Loop<5>&, const Operands<5>&);

}  // namespace fastnn::cuda
