// C = act(A B + bias) by tiles: the kernel that passes over k, what it writes to, and the sum of its parts
// where k was split, by the last block of a tile. The arithmetic of a tile is a template parameter:
// tile_simt.cuh or tile_mma.cuh.
#pragma once
#include "cuda/common/last_block.cuh"
#include "cuda/gemm/axis.cuh"
#include "cuda/gemm/tile_load.cuh"

namespace fastnn::cuda {

// Where element (i, j) of C goes: base + i * row_stride + column(j), through bias and ReLU.
template <class T>
struct Output {
  T* base;
  int64_t row_stride, batch_stride, split_stride;
  int64_t column_stride;  // column(j) = j * column_stride; where it is 0, columns.place(j).offset
  Axis columns;
  bool vector;    // any kVector columns from a multiple of kVector are neighbours, and aligned
  const T* bias;  // or null; bias[i * bias_row + j * bias_column]
  int64_t bias_row, bias_column, bias_batch;
  bool relu;

  __device__ int64_t column(int64_t j) const {
    return column_stride != 0 ? j * column_stride : columns.place(static_cast<unsigned>(j)).offset;
  }
  __device__ T finish(T value, int64_t batch, int64_t i, int64_t j) const {
    if (bias) value += bias[batch * bias_batch + i * bias_row + j * bias_column];
    return relu && value < T(0) ? T(0) : value;
  }
};

// The grid: tiles of one product, times splits of k, times products. Tiles are numbered so that blocks at
// work at the same time share operands in L2: down strips of kStrip tile rows.
struct Grid {
  int64_t m, n, k, k_per_split;  // k_per_split is a multiple of BLOCK_K
  unsigned tiles_m, tiles_n, splits;
};
constexpr unsigned kStrip = 8;

struct BlockTile {
  int64_t i, j, split, batch;
};
template <int BLOCK_M, int BLOCK_N>
__device__ BlockTile block_tile(const Grid& g) {
  const unsigned tiles = g.tiles_m * g.tiles_n, part = blockIdx.x / tiles, t = blockIdx.x - part * tiles;
  const unsigned strip = t / (kStrip * g.tiles_n), first = strip * kStrip, left = g.tiles_m - first;
  const unsigned rows = left < kStrip ? left : kStrip, in_strip = t - strip * kStrip * g.tiles_n;
  const unsigned column = in_strip / rows, batch = part / g.splits;
  return {int64_t{first + in_strip - column * rows} * BLOCK_M, int64_t{column} * BLOCK_N,
          part - batch * g.splits, batch};
}

template <class T, int BLOCK_M, int BLOCK_N>
constexpr int kStageElements = BLOCK_K * (kPitch<T, BLOCK_M> + kPitch<T, BLOCK_N>);

template <class T, class Tile, class Operand>
constexpr size_t product_shared_bytes() {
  return SharedMemory::bytes<T>(STAGES * kStageElements<T, Tile::BLOCK_M, Tile::BLOCK_N>) +
         ReaderOf<Operand, Tile::BLOCK_M>::type::shared_bytes() +
         ReaderOf<Operand, Tile::BLOCK_N>::type::shared_bytes();
}

// kVector columns of C from column j on: what they need is worked out once for all rows.
template <class T>
class ColumnWriter {
  static constexpr int V = kVector<T>;

 public:
  __device__ ColumnWriter(const Output<T>& out, const BlockTile& at, const Grid& grid, int64_t j)
      : out_(out),
        base_(out.base + at.batch * out.batch_stride + at.split * out.split_stride),
        bias_(out.bias ? out.bias + at.batch * out.bias_batch + j * out.bias_column : nullptr),
        rows_(grid.m),
        count_(grid.n - j < V ? static_cast<int>(grid.n - j) : V) {
    if (out.vector) {
      offset_[0] = out.column(j);
    } else {
#pragma unroll
      for (int e = 0; e < V; ++e) offset_[e] = e < count_ ? out.column(j + e) : 0;
    }
  }
  __device__ void store(int64_t i, T (&v)[V]) const {
    if (i >= rows_) return;
    if (bias_) {
#pragma unroll
      for (int e = 0; e < V; ++e)
        if (e < count_) v[e] += bias_[i * out_.bias_row + e * out_.bias_column];
    }
    if (out_.relu) {
#pragma unroll
      for (int e = 0; e < V; ++e) v[e] = v[e] < T(0) ? T(0) : v[e];
    }
    T* const row = base_ + i * out_.row_stride;
    if (out_.vector) {
      Vector<T> piece;
#pragma unroll
      for (int e = 0; e < V; ++e) piece.v[e] = v[e];
      if (count_ > 0)  // a plain store, for it can be predicated
        *reinterpret_cast<uint4*>(row + offset_[0]) = bits_as<uint4>(piece);
      return;
    }
#pragma unroll
    for (int e = 0; e < V; ++e)
      if (e < count_) row[offset_[e]] = v[e];
  }

 private:
  const Output<T>& out_;
  T* const base_;
  const T* const bias_;
  const int64_t rows_;
  const int count_;  // columns that there are; not positive: none
  int64_t offset_[V];
};

// Where k is split, blocks write parts of C, one behind the other, and whoever is the last of a tile adds
// them up in their order and finishes them.
template <class T>
struct Parts {
  const T* parts;     // [batch][split][m][n]
  unsigned* tickets;  // one of each tile; null: somebody else adds up
  Output<T> out;

  __device__ void add_up(const Grid& g, int64_t batch, int64_t i, int64_t j) const {
    const T* part = parts + (batch * g.splits * g.m + i) * g.n + j;
    T sum = __ldcg(part);
#pragma unroll 4
    for (unsigned s = 1; s < g.splits; ++s) sum += __ldcg(part + s * g.m * g.n);
    out.base[batch * out.batch_stride + i * out.row_stride + out.column(j)] = out.finish(sum, batch, i, j);
  }
};

// One block: one tile of one split. Three stages are in flight: while one is multiplied, the next two arrive.
// A single barrier a stage says both that it has arrived and that the one before has been read by all.
template <class T, class Tile, class Operand>
__global__ void __launch_bounds__(Tile::THREADS, Tile::BLOCKS)
    product_kernel(Operand a, Operand b, Output<T> out, Grid grid, Parts<T> parts) {
  constexpr int BLOCK_M = Tile::BLOCK_M, BLOCK_N = Tile::BLOCK_N, A = BLOCK_K * kPitch<T, BLOCK_M>;
  using ReaderA = typename ReaderOf<Operand, BLOCK_M>::type;
  using ReaderB = typename ReaderOf<Operand, BLOCK_N>::type;
  const BlockTile at = block_tile<BLOCK_M, BLOCK_N>(grid);
  const int64_t k0 = at.split * grid.k_per_split, k_rest = grid.k - k0;
  const int64_t k = k_rest < grid.k_per_split ? k_rest : grid.k_per_split;
  const int stages = static_cast<int>(ceil_div<int64_t>(k, BLOCK_K));
  const int last = static_cast<int>(k - (stages - 1) * int64_t{BLOCK_K});  // k of the last stage

  SharedMemory shared;
  constexpr int ELEMENTS = kStageElements<T, BLOCK_M, BLOCK_N>;
  T* const ring = shared.template take<T>(STAGES * ELEMENTS);
  ReaderA reader_a(a, {at.i, grid.m - at.i, k0, k, at.batch}, shared);
  ReaderB reader_b(b, {at.j, grid.n - at.j, k0, k, at.batch}, shared);
  const auto prepare = [&](int stage) {
    reader_a.prepare(stage, 0);
    reader_b.prepare(stage, kWarpSize);
  };
  const auto share = [&] {
    if constexpr (ReaderA::kTables) __syncthreads();
  };

  prepare(0);
  share();
  TileCopy<T, BLOCK_M, Tile::THREADS, ReaderA> copy_a(reader_a);
  TileCopy<T, BLOCK_N, Tile::THREADS, ReaderB> copy_b(reader_b);
  const auto fetch = [&](int stage, int slot) {
    if (stage < stages) {
      const int left = stage == stages - 1 ? last : BLOCK_K;
      copy_a.run(ring + slot * ELEMENTS, stage, left);
      copy_b.run(ring + slot * ELEMENTS + A, stage, left);
    }
    ptx::commit();
  };
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    fetch(stage, stage);
    prepare(stage + 1);
    share();
  }

  Tile tile;
  int slot = 0;
  for (int stage = 0; stage < stages; ++stage) {
    ptx::wait<STAGES - 2>();
    __syncthreads();
    fetch(stage + STAGES - 1, slot == 0 ? STAGES - 1 : slot - 1);
    prepare(stage + STAGES);
    tile.multiply(ring + slot * ELEMENTS, ring + slot * ELEMENTS + A);
    slot = slot == STAGES - 1 ? 0 : slot + 1;
  }

  tile.write(at.i, [&](int column) { return ColumnWriter<T>(out, at, grid, at.j + column); });

  if (!parts.tickets) return;
  const unsigned tiles = grid.tiles_m * grid.tiles_n, number = at.batch * tiles + blockIdx.x % tiles;
  if (!is_last_block(parts.tickets + number, grid.splits)) return;
  for (int t = threadIdx.x; t < BLOCK_M * BLOCK_N; t += Tile::THREADS) {
    const int64_t i = at.i + t / BLOCK_N, j = at.j + t % BLOCK_N;
    if (i < grid.m && j < grid.n) parts.add_up(grid, at.batch, i, j);
  }
}

// Adds the splits' products in their order, and finishes them: where there are more tiles than tickets.
template <class T>
__global__ void combine_kernel(const T* parts, Output<T> out, int64_t m, int64_t n, int64_t splits,
                               int64_t batch) {
  const int64_t count = m * n * batch, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t t = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; t < count; t += step) {
    const int64_t row = t / n, j = t - row * n, product = row / m, i = row - product * m;
    const T* part = parts + (product * splits * m + i) * n + j;
    T sum = part[0];
#pragma unroll 4
    for (int64_t s = 1; s < splits; ++s) sum += part[s * m * n];
    out.base[product * out.batch_stride + i * out.row_stride + out.column(j)] =
        out.finish(sum, product, i, j);
  }
}

}  // namespace fastnn::cuda
