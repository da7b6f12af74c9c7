// Which tile a product is cut into, and whether k is split: chosen by an estimate of the clocks that it takes
// on the device at hand. Every tile adds up k in the same order, so only a split changes bits, and a choice
// depends on shapes and the device alone.
#pragma once
#include <array>
#include <type_traits>

#include "cuda/common/forced_plan.h"
#include "cuda/gemm/tile_mma.cuh"
#include "cuda/gemm/tile_product.cuh"
#include "cuda/gemm/tile_simt.cuh"

namespace fastnn::cuda {

template <class T, class Operand>
struct Product {
  Operand a, b;
  Output<T> out;
  int64_t m, n, k, batch;
};

// How a tile is entered in a list.
template <class T, class Operand>
struct TileEntry {
  int block_m, block_n, threads, blocks;  // `blocks` share a multiprocessor
  size_t shared_bytes;
  double efficiency;  // share of the peak that a full multiprocessor reaches, long k
  Status (*run)(const Context&, const Product<T, Operand>&, const Output<T>&, const Grid&, const Parts<T>&);
};

struct ProductPlan {
  int tile;  // in its list
  int64_t splits, k_per_split;
  size_t scratch;  // elements
};

template <class T, class Tile, class Operand>
Status run_tile(const Context& ctx, const Product<T, Operand>& p, const Output<T>& out, const Grid& grid,
                const Parts<T>& parts) {
  const int64_t blocks = int64_t{grid.tiles_m} * grid.tiles_n * grid.splits * p.batch;
  return launch<product_kernel<T, Tile, Operand>>(
      ctx, dim3(static_cast<unsigned>(blocks)), dim3(Tile::THREADS), product_shared_bytes<T, Tile, Operand>(),
      p.a, p.b, out, grid, parts);
}

template <class T, class Tile, class Operand>
constexpr TileEntry<T, Operand> tile_entry(double efficiency) {
  return {Tile::BLOCK_M,
          Tile::BLOCK_N,
          Tile::THREADS,
          Tile::BLOCKS,
          product_shared_bytes<T, Tile, Operand>(),
          efficiency,
          run_tile<T, Tile, Operand>};
}

// Float: 64 to 242 registers a thread. The largest tile reads a float from memory per 43 multiply-adds and,
// at 128 sums a thread, keeps the multiply-add units busy with one block of 8 warps; the narrow ones are for
// few filters or few classes, the small ones for small problems.
template <class T, class Operand>
struct SimtTiles {
  static constexpr double kRate = 128;  // multiply-adds a clock and multiprocessor
  static constexpr std::array list{
      tile_entry<float, SimtTile<float, 2, 4, 16, 8, 1>, Operand>(0.92),  // 128 x 256
      tile_entry<float, SimtTile<float, 4, 2, 8, 8, 2>, Operand>(0.86),   // 128 x 128
      tile_entry<float, SimtTile<float, 2, 4, 8, 8, 2>, Operand>(0.84),   // 64 x 256
      tile_entry<float, SimtTile<float, 2, 2, 8, 4, 4>, Operand>(0.70),   // 64 x 64
      tile_entry<float, SimtTile<float, 2, 2, 4, 8, 4>, Operand>(0.65),   // 32 x 128
      tile_entry<float, SimtTile<float, 4, 1, 8, 4, 4>, Operand>(0.65),   // 128 x 32
      tile_entry<float, SimtTile<float, 2, 1, 4, 4, 8>, Operand>(0.45),   // 32 x 32
  };
};
// Twice the registers for each sum.
template <class Operand>
struct SimtTiles<double, Operand> {
  static constexpr double kRate = 64;
  static constexpr std::array list{
      tile_entry<double, SimtTile<double, 4, 2, 8, 8, 1>, Operand>(0.90),  // 128 x 128
      tile_entry<double, SimtTile<double, 2, 2, 8, 4, 2>, Operand>(0.75),  // 64 x 64
      tile_entry<double, SimtTile<double, 4, 1, 8, 4, 2>, Operand>(0.70),  // 128 x 32
      tile_entry<double, SimtTile<double, 2, 1, 4, 4, 6>, Operand>(0.50),  // 32 x 32
  };
};

// Tensor cores. What limits them is shared memory, which holds float32 whatever the precision: the larger the
// part of C that a warp owns, the less it reads for a product.
template <Precision P, class Operand>
struct MmaTiles {
  static constexpr double kRate = P == Precision::tf32 ? 600 : 800;
  static constexpr std::array list{
      tile_entry<float, MmaTile<P, 2, 4, 2, 2, 1>, Operand>(0.80),  // 128 x 256
      tile_entry<float, MmaTile<P, 2, 2, 2, 2, 2>, Operand>(0.75),  // 128 x 128
      tile_entry<float, MmaTile<P, 2, 2, 1, 2, 2>, Operand>(0.60),  // 64 x 128
      tile_entry<float, MmaTile<P, 2, 2, 1, 1, 4>, Operand>(0.45),  // 64 x 64
  };
};

// f.operator()<List>() with the tiles that the context's precision and device allow.
template <class T, class Operand, class F>
Status with_tiles(const Context& ctx, F f) {
  if constexpr (std::is_same_v<T, float>) {
    const Precision precision = ctx.capability >= 80 ? ctx.precision : Precision::fp32;
    if (precision == Precision::tf32) return f.template operator()<MmaTiles<Precision::tf32, Operand>>();
    if (precision == Precision::bf16) return f.template operator()<MmaTiles<Precision::bf16, Operand>>();
    if (precision == Precision::fp16) return f.template operator()<MmaTiles<Precision::fp16, Operand>>();
  }
  return f.template operator()<SimtTiles<T, Operand>>();
}

// ---- the estimate

constexpr double kTileClocks = 1500;     // from a block's start to its first product, and its stores
constexpr double kTicketClocks = 1500;   // finding the last block of a tile
constexpr double kLaunchClocks = 4000;   // one kernel more
constexpr double kBytesPerClock = 1500;  // of device memory
constexpr int64_t kLeastSplit = 4 * BLOCK_K;

// A block's shared memory (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
inline size_t shared_limit(int capability) {
  const bool large = capability == 80 || capability == 87, larger = capability >= 90 && capability < 120;
  return 1024 * (larger ? 227 : large ? 163 : capability >= 80 ? 99 : 64);
}

template <class T, class Operand>
double estimate_clocks(const Context& ctx, const TileEntry<T, Operand>& tile, double rate, int64_t tiles,
                       int64_t splits, double k_per_split, double outputs) {
  const double per_sm = static_cast<double>(ceil_div<int64_t>(tiles * splits, ctx.multiprocessors));
  const double together = per_sm < tile.blocks ? per_sm : tile.blocks;
  // Fewer than 8 warps do not hide the latency of shared memory.
  const double threads = together * tile.threads, hidden = threads < 256 ? 0.5 + threads / 512 : 1;
  const double product =
      tile.block_m * tile.block_n * (k_per_split + BLOCK_K) / (rate * tile.efficiency * hidden);
  double clocks = per_sm * product + kTileClocks * ceil_div<double>(per_sm, together);
  if (splits > 1)
    clocks += (tiles <= kTickets ? kTicketClocks : kLaunchClocks) +
              outputs * static_cast<double>((splits + 1) * sizeof(T)) / kBytesPerClock;
  return clocks;
}

inline int64_t split_depth(int64_t k, int64_t splits) {
  return ceil_div(ceil_div(k, splits), static_cast<int64_t>(BLOCK_K)) * BLOCK_K;
}

// Whether the environment forces a tile that the list has and the device can run.
template <class List>
bool forces_tile(const ForcedPlan& forced, size_t shared) {
  for (const auto& tile : List::list)
    if (tile.block_m == forced.block_m && tile.block_n == forced.block_n) return tile.shared_bytes <= shared;
  return false;
}

// The best tile of a list, and split of k.
template <class List, class T, class Operand>
ProductPlan plan_product(const Context& ctx, const Product<T, Operand>& p) {
  ProductPlan best{};
  double least = 0;
  const double outputs = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.batch);
  const ForcedPlan& forced = forced_plan();
  const bool one_tile = forces_tile<List>(forced, shared_limit(ctx.capability));
  for (int t = 0; t < static_cast<int>(List::list.size()); ++t) {
    const TileEntry<T, Operand>& tile = List::list[t];
    if (tile.shared_bytes > shared_limit(ctx.capability)) continue;
    if (one_tile && (tile.block_m != forced.block_m || tile.block_n != forced.block_n)) continue;
    const int64_t tiles =
        ceil_div<int64_t>(p.m, tile.block_m) * ceil_div<int64_t>(p.n, tile.block_n) * p.batch;
    const int64_t room = static_cast<int64_t>(ctx.multiprocessors) * tile.blocks;
    for (const int64_t wanted : {int64_t{1}, ctx.multiprocessors / tiles, room / tiles}) {
      const int64_t most = p.k / kLeastSplit;
      const int64_t parts = forced.splits > 0 ? forced.splits : wanted < most ? wanted : most;
      if (parts <= 1 && wanted != 1) continue;
      const int64_t depth = split_depth(p.k, parts > 1 ? parts : 1);
      const int64_t splits = depth > 0 ? ceil_div(p.k, depth) : 1;
      const double clocks =
          estimate_clocks(ctx, tile, List::kRate, tiles, splits, static_cast<double>(depth), outputs);
      if (least != 0 && clocks >= least) continue;
      least = clocks;
      best = {t, splits, depth, splits > 1 ? static_cast<size_t>(p.m * p.n * p.batch * splits) : 0};
    }
  }
  return best;
}

// Runs it; `scratch` holds plan.scratch elements.
template <class List, class T, class Operand>
Status run_product(Context& ctx, const Product<T, Operand>& p, const ProductPlan& plan, T* scratch) {
  const TileEntry<T, Operand>& tile = List::list[plan.tile];
  const Grid grid{p.m,
                  p.n,
                  p.k,
                  plan.k_per_split,
                  static_cast<unsigned>(ceil_div<int64_t>(p.m, tile.block_m)),
                  static_cast<unsigned>(ceil_div<int64_t>(p.n, tile.block_n)),
                  static_cast<unsigned>(plan.splits)};
  if (plan.splits == 1) return tile.run(ctx, p, p.out, grid, {});

  Output<T> part{};
  part.base = scratch;
  part.row_stride = p.n;
  part.split_stride = p.m * p.n;
  part.batch_stride = plan.splits * part.split_stride;
  part.column_stride = 1;
  part.vector = p.n % kVector<T> == 0 && vector_aligned(scratch);
  const bool counted = int64_t{grid.tiles_m} * grid.tiles_n * p.batch <= kTickets;
  const Status status = tile.run(ctx, p, part, grid, {scratch, counted ? ctx.tickets : nullptr, p.out});
  if (status != Status::ok || counted) return status;
  const int64_t blocks = ceil_div<int64_t>(p.m * p.n * p.batch, 256), most = ctx.multiprocessors * 16;
  return launch<combine_kernel<T>>(ctx, dim3(static_cast<unsigned>(blocks < most ? blocks : most)), dim3(256),
                                   0, scratch, p.out, p.m, p.n, plan.splits, p.batch);
}

}  // namespace fastnn::cuda
