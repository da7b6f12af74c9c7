// An operand of a product by tiles that is gathered from images on the fly.
#pragma once
#include "cuda/gemm/axis.cuh"
#include "cuda/gemm/tile_load.cuh"

namespace fastnn::cuda {

// Element (i, k) is base[tile.place(i).offset + depth.place(k).offset] where the rows and columns of both add
// up to a pixel of the height x width image, else 0.
template <class T>
struct Gather {
  const T* base;
  int64_t batch_stride;
  Axis tile, depth;
  int height, width;
  Layout layout;
};

constexpr int kOutside = -0x40000000;  // no row or column that is added to it gets back into an image

template <class T, int BLOCK>
class GatherReader {
 public:
  static constexpr bool kTables = true;
  using Place = ImagePlace;

  static constexpr size_t shared_bytes() {
    return SharedMemory::bytes<Place>(BLOCK) + SharedMemory::bytes<Place>(2 * BLOCK_K);
  }
  __device__ GatherReader(const Gather<T>& g, const Stretch& w, SharedMemory& shared)
      : layout(g.layout),
        base_(g.base + w.batch * g.batch_stride),
        axis_(g.depth),
        height_(g.height),
        width_(g.width),
        depth_(static_cast<unsigned>(w.depth)),
        depth_end_(static_cast<unsigned>(w.depth + w.depth_left)),
        tiles_(shared.take<Place>(BLOCK)),
        depths_(shared.take<Place>(2 * BLOCK_K)) {
    for (int i = threadIdx.x; i < BLOCK; i += blockDim.x)
      tiles_[i] =
          i < w.tiles_left ? g.tile.place(static_cast<unsigned>(w.tile + i)) : Place{0, kOutside, kOutside};
  }

  // Fills the table of a stage's k, by threads [first, first + BLOCK_K). The copies of the stage before may
  // still be reading theirs: tables take turns.
  __device__ void prepare(int stage, int first) {
    const unsigned k = threadIdx.x - first;
    if (k >= BLOCK_K) return;
    const unsigned index = depth_ + stage * BLOCK_K + k;
    depths_[stage % 2 * BLOCK_K + k] = index < depth_end_ ? axis_.place(index) : Place{0, kOutside, kOutside};
  }
  __device__ void enter(int stage, int) { turn_ = stage % 2 * BLOCK_K; }
  __device__ Place tile(int i) const { return load_place(tiles_ + i); }
  __device__ Place depth(int k) const { return load_place(depths_ + turn_ + k); }
  __device__ const T* find(const Place& a, const Place& b, bool* valid) const {
    *valid = static_cast<unsigned>(a.h + b.h) < static_cast<unsigned>(height_) &&
             static_cast<unsigned>(a.w + b.w) < static_cast<unsigned>(width_);
    return base_ + a.offset + b.offset;
  }
  __device__ void leave() {}

  const Layout layout;

 private:
  const T* const base_;
  const Axis& axis_;
  const int height_, width_;
  const unsigned depth_, depth_end_;
  Place *const tiles_, *const depths_;
  int turn_ = 0;
};

template <class T, int BLOCK>
struct ReaderOf<Gather<T>, BLOCK> {
  using type = GatherReader<T, BLOCK>;
};

}  // namespace fastnn::cuda
