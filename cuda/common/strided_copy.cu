// A copy of two sides that are contiguous along the same dimension goes by vectors. If they are so along
// different ones (a transpose) it goes through a tile in shared memory, so that both are touched in whole
// lines. All others go element by element.
#include "cuda/common/strided_copy.cuh"

#include "cuda/common/loops.cuh"
#include "cuda/common/nest.cuh"

namespace fastnn::cuda {
namespace {

// ---- transpose

// A tile's rows are at least 64 bytes long and give each of the 256 threads 16 loads in flight (4 of 8
// bytes). A row in shared memory takes an odd number of banks, so that a column of it is read from 32
// different ones.
constexpr int kTransposeThreads = 256;
template <class U>
constexpr int kTileEdge = sizeof(U) == 8 ? 32 : 64;
template <class U>
constexpr int kTilePitch = kTileEdge<U> + (sizeof(U) < 4 ? 4 / static_cast<int>(sizeof(U)) : 1);

// y[i * y_stride + j] = x[i + j * x_stride] for i in [0, rows), j in [0, columns), within a nest of the other
// dimensions.
struct Transpose {
  int64_t rows, columns, y_stride, x_stride;
  FastDivide row_tiles, column_tiles;
  int ndim;
  FastDivide extent[kMaxDims];
  int64_t stride[2][kMaxDims];
};

template <class U>
__global__ void __launch_bounds__(kTransposeThreads) transpose_kernel(U* y, const U* x, Transpose t) {
  constexpr int E = kTileEdge<U>, P = kTilePitch<U>, kRows = kTransposeThreads / E;
  U* const tile = SharedMemory().take<U>(E * P);
  unsigned index = t.column_tiles.quotient(blockIdx.x);
  const int64_t j0 = static_cast<int64_t>(blockIdx.x - index * t.column_tiles.divisor) * E;
  unsigned next = t.row_tiles.quotient(index);
  const int64_t i0 = static_cast<int64_t>(index - next * t.row_tiles.divisor) * E;
  for (int d = t.ndim - 1; d >= 0; --d, next = index) {
    index = t.extent[d].quotient(next);
    const unsigned at = next - index * t.extent[d].divisor;
    y += at * t.stride[0][d];
    x += at * t.stride[1][d];
  }
  const int along = threadIdx.x % E, first = threadIdx.x / E;

  U held[E / kRows] = {};
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) {
    const int64_t j = j0 + first + r * kRows;
    if (i0 + along < t.rows && j < t.columns) held[r] = x[i0 + along + j * t.x_stride];
  }
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) tile[(first + r * kRows) * P + along] = held[r];
  __syncthreads();
#pragma unroll
  for (int r = 0; r < E / kRows; ++r) {
    const int i = first + r * kRows;
    if (i0 + i < t.rows && j0 + along < t.columns)
      y[(i0 + i) * t.y_stride + j0 + along] = tile[along * P + i];
  }
}

template <class U>
Status transpose(const Context& ctx, const Loop<2>& loop, char* const (&base)[2], int i, int j) {
  constexpr int64_t E = kTileEdge<U>;
  Transpose t{};
  t.rows = loop.shape[i], t.columns = loop.shape[j];
  t.y_stride = loop.stride[0][i], t.x_stride = loop.stride[1][j];
  t.row_tiles = FastDivide(static_cast<unsigned>(ceil_div(t.rows, E)));
  t.column_tiles = FastDivide(static_cast<unsigned>(ceil_div(t.columns, E)));
  unsigned blocks = t.row_tiles.divisor * t.column_tiles.divisor;
  for (int d = 0; d < loop.ndim; ++d) {
    if (d == i || d == j) continue;
    t.extent[t.ndim] = FastDivide(static_cast<unsigned>(loop.shape[d]));
    for (int k = 0; k < 2; ++k) t.stride[k][t.ndim] = loop.stride[k][d];
    blocks *= t.extent[t.ndim++].divisor;
  }
  return launch<transpose_kernel<U>>(ctx, blocks, kTransposeThreads,
                                     SharedMemory::bytes<U>(E * kTilePitch<U>), reinterpret_cast<U*>(base[0]),
                                     reinterpret_cast<const U*>(base[1]), t);
}

// ---- V elements at a time

template <class U, int V>
__global__ void __launch_bounds__(kMapThreads) copy_kernel(Walk<2> walk) {
  constexpr int kCopies = kUnroll<2>;
  int64_t offset[kCopies][2];
  bool inside[kCopies];
  walk.find(offset, inside);
  Vector<U, V> held[kCopies];
#pragma unroll
  for (int u = 0; u < kCopies; ++u)
    if (inside[u]) held[u] = Vector<U, V>::load(reinterpret_cast<const U*>(walk.base[1]) + offset[u][1]);
#pragma unroll
  for (int u = 0; u < kCopies; ++u)
    if (inside[u]) held[u].store(reinterpret_cast<U*>(walk.base[0]) + offset[u][0]);

  if (V == 1 || blockIdx.x + 1 != gridDim.x || threadIdx.x >= walk.rest) return;
  const int64_t last = static_cast<int64_t>(walk.count) * V + threadIdx.x;
  reinterpret_cast<U*>(walk.base[0])[last] = reinterpret_cast<const U*>(walk.base[1])[last];
}

template <class U, int V>
Status copy_walk(const Context& ctx, const Loop<2>& loop, char* const (&base)[2]) {
  Walk<2> walk(loop, base, V, 0, 0);
  const unsigned blocks = walk.share(ctx, kUnroll<2>);
  return launch<copy_kernel<U, V>>(ctx, blocks, kMapThreads, 0, walk);
}

// Whether both sides are contiguous along the last dimension, in whole vectors but for the end of a single
// row.
template <class U, int V>
bool in_vectors(const Loop<2>& loop, char* const (&base)[2]) {
  const int last = loop.ndim - 1;
  bool whole = last == 0 || loop.shape[last] % V == 0;
  for (int k = 0; k < 2; ++k) {
    whole = whole && loop.stride[k][last] == 1 && aligned_to(base[k], V * static_cast<int>(sizeof(U)));
    for (int d = 0; d < last; ++d) whole = whole && loop.stride[k][d] % V == 0;
  }
  return whole;
}

// The dimension along which `stride` is 1, or -1.
int unit_dim(const Loop<2>& loop, const int64_t* stride) {
  for (int d = loop.ndim - 1; d >= 0; --d)
    if (stride[d] == 1) return d;
  return -1;
}

template <class U>
Status copy(const Context& ctx, const Loop<2>& loop, char* const (&base)[2]) {
  constexpr int64_t kShort = 16;  // narrower tiles would leave most threads idle
  constexpr int V = kVector<U>, size[2] = {sizeof(U), sizeof(U)};
  return in_parts(loop, base, size, kMapElements, [&](const Loop<2>& part, char* const(&at)[2]) {
    const int j = unit_dim(part, part.stride[0]), i = unit_dim(part, part.stride[1]);
    if (i >= 0 && j >= 0 && i != j && part.shape[i] >= kShort && part.shape[j] >= kShort)
      return transpose<U>(ctx, part, at, i, j);
    return in_vectors<U, V>(part, at) ? copy_walk<U, V>(ctx, part, at) : copy_walk<U, 1>(ctx, part, at);
  });
}

}  // namespace

Status copy_strided(const Context& ctx, int size, const Loop<2>& loop, char* const (&base)[2]) {
  if (loop.numel == 0) return Status::ok;
  switch (size) {
    case 1:
      return copy<uint8_t>(ctx, loop, base);
    case 2:
      return copy<uint16_t>(ctx, loop, base);
    case 4:
      return copy<uint32_t>(ctx, loop, base);
    default:
      return copy<uint64_t>(ctx, loop, base);
  }
}

}  // namespace fastnn::cuda
