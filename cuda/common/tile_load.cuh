// Operands of a product C (m x n) = A (m x k) B (k x n), and their way into shared memory.
//
// A block computes a BLOCK_M x BLOCK_N tile of C and passes over k in stages of BLOCK_K. Either operand
// brings a BLOCK_K x BLOCK tile per stage, k-major: the element of tile index i (a row of A, a column of B)
// at depth k lies at stage[k * pitch + i]. One pitch serves every reader and writer without bank conflicts,
// because it is 16 bytes more than a multiple of 128:
//   - a row of one k is read and written in 16-byte pieces, aligned;
//   - elements that come along k from memory are written 8 k x 4 i a warp, to banks 4 k + i (4-byte
//   elements),
//     32 different ones; 8-byte elements pass in two halves, each without a conflict;
//   - tile_mma.cuh says how fragments are read.
#pragma once
#include "cuda/common/common.cuh"
#include "cuda/common/ptx.cuh"
#include "cuda/common/vector.cuh"

namespace fastnn::cuda {

constexpr int BLOCK_K = 16;
constexpr int STAGES = 3;
constexpr int kDepthRun = 8;  // consecutive k that neighbouring lanes copy: a 32-byte sector of floats

template <class T, int BLOCK>
constexpr int kPitch = BLOCK + kVector<T>;

// How an operand lies in memory: along the tile index in 16-byte pieces, along it element by element, or
// along k.
enum class Walk : int { tile_vector, tile, depth };

// A stretch of an operand: its first tile index and k, and what is left of both from there.
struct Window {
  int64_t tile, tiles_left, depth, depth_left, batch;
};

// ---- an operand that is a matrix: element (i, k) is base[i * tile_stride + k * depth_stride], one of them 1

template <class T>
struct Matrix {
  const T* base;
  int64_t tile_stride, depth_stride, batch_stride;
  Walk walk;

  Matrix() = default;
  Matrix(const void* p, int64_t tiles, int64_t tile_stride, int64_t depth_stride, int64_t batch_stride)
      : base(static_cast<const T*>(p)),
        tile_stride(tile_stride),
        depth_stride(depth_stride),
        batch_stride(batch_stride) {
    const bool pieces = vector_aligned(p) && (tiles | depth_stride | batch_stride) % kVector<T> == 0;
    walk = tile_stride != 1 ? Walk::depth : pieces ? Walk::tile_vector : Walk::tile;
  }
};

template <class T, int BLOCK>
class MatrixReader {
 public:
  static constexpr bool kTables = false;
  struct Place {
    int64_t offset;
    bool valid;
  };

  static constexpr size_t shared_bytes() { return 0; }
  __device__ MatrixReader(const Matrix<T>& m, const Window& w, SharedMemory&)
      : walk(m.walk),
        at_(m.base + w.batch * m.batch_stride + w.tile * m.tile_stride + w.depth * m.depth_stride),
        tile_stride_(m.tile_stride),
        depth_stride_(m.depth_stride),
        tiles_left_(static_cast<int>(w.tiles_left < BLOCK ? w.tiles_left : BLOCK)) {}

  __device__ void prepare(int, int) {}
  __device__ void enter(int, int left) { left_ = left; }
  __device__ Place tile(int i) const { return {i * tile_stride_, i < tiles_left_}; }
  __device__ Place depth(int k) const { return {k * depth_stride_, k < left_}; }
  __device__ const T* find(const Place& a, const Place& b, bool* valid) const {
    *valid = a.valid && b.valid;
    return at_ + a.offset + b.offset;
  }
  __device__ void leave() { at_ += BLOCK_K * depth_stride_; }

  const Walk walk;

 private:
  const T* at_;
  const int64_t tile_stride_, depth_stride_;
  const int tiles_left_;
  int left_ = 0;
};

// ---- an operand that is gathered from images

struct alignas(16) ImagePlace {
  int64_t offset;
  int h, w;  // the image's row and column, or a part of them
};
// From shared memory, in one access.
__device__ inline ImagePlace load_place(const ImagePlace* p) {
  const longlong2 v = *reinterpret_cast<const longlong2*>(p);
  return {v.x, static_cast<int>(v.y), static_cast<int>(v.y >> 32)};
}

// A dimension of the product that stands for three of a tensor: index = (d0 * extent1 + d1) * extent2 + d2.
// Indices stay below 2^31.
struct Axis {
  FastDivide outer, inner;  // by extent1 * extent2, by extent2
  int64_t start, stride0, stride1, stride2;
  int h_start, h_step, w_start, w_step;  // d1 is at row h_start + d1 * h_step, d2 at a column likewise

  Axis() = default;
  Axis(int64_t extent1, int64_t extent2, int64_t stride0, int64_t stride1, int64_t stride2)
      : outer(static_cast<unsigned>(extent1 * extent2)),
        inner(static_cast<unsigned>(extent2)),
        start(0),
        stride0(stride0),
        stride1(stride1),
        stride2(stride2),
        h_start(0),
        h_step(0),
        w_start(0),
        w_step(0) {}

  __device__ ImagePlace place(unsigned index) const {
    const unsigned d0 = outer.quotient(index), rest = index - d0 * outer.divisor;
    const unsigned d1 = inner.quotient(rest), d2 = rest - d1 * inner.divisor;
    return {start + d0 * stride0 + d1 * stride1 + d2 * stride2, h_start + static_cast<int>(d1) * h_step,
            w_start + static_cast<int>(d2) * w_step};
  }
};

// Element (i, k) is base[tile.place(i).offset + depth.place(k).offset] where the rows and columns of both add
// up to a pixel of the height x width image, else 0.
template <class T>
struct Gather {
  const T* base;
  int64_t batch_stride;
  Axis tile, depth;
  int height, width;
  Walk walk;
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
  __device__ GatherReader(const Gather<T>& g, const Window& w, SharedMemory& shared)
      : walk(g.walk),
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

  const Walk walk;

 private:
  const T* const base_;
  const Axis& axis_;
  const int height_, width_;
  const unsigned depth_, depth_end_;
  Place *const tiles_, *const depths_;
  int turn_ = 0;
};

template <class Operand, int BLOCK>
struct ReaderOf;
template <class T, int BLOCK>
struct ReaderOf<Matrix<T>, BLOCK> {
  using type = MatrixReader<T, BLOCK>;
};
template <class T, int BLOCK>
struct ReaderOf<Gather<T>, BLOCK> {
  using type = GatherReader<T, BLOCK>;
};

// ---- the copies of one operand, by all threads of the block

template <class T, int BLOCK, int THREADS, class Reader>
class TileCopy {
  static constexpr int PITCH = kPitch<T, BLOCK>;

  using Place = typename Reader::Place;

  // PASSES copies of BYTES, to `step` elements apart, from where `fixed` and varying(pass) meet. Places come
  // in groups, so that the latencies of their tables overlap.
  template <int BYTES, int PASSES, class F>
  __device__ void copy(T* to, int step, const Place& fixed, F varying) const {
    constexpr int GROUP = PASSES < 8 ? PASSES : 8;
    static_assert(PASSES % GROUP == 0);
#pragma unroll
    for (int first = 0; first < PASSES; first += GROUP) {
      Place place[GROUP];
#pragma unroll
      for (int i = 0; i < GROUP; ++i) place[i] = varying(first + i);
#pragma unroll
      for (int i = 0; i < GROUP; ++i) {
        bool valid;
        const T* from = reader_.find(fixed, place[i], &valid);
        ptx::copy_async<BYTES>(to + (first + i) * step, from, valid);
      }
    }
  }

  // Walks along the tile index, WIDTH elements a copy: a thread keeps its place there.
  template <int WIDTH>
  static constexpr int kColumns = BLOCK / WIDTH;
  template <int WIDTH>
  static __device__ int column() {
    return threadIdx.x % kColumns<WIDTH> * WIDTH;
  }
  template <int WIDTH>
  __device__ void along_tile(T* stage) const {
    constexpr int ROWS = THREADS / kColumns<WIDTH>;  // k that one pass of the block covers
    constexpr int BYTES = WIDTH * static_cast<int>(sizeof(T));
    static_assert(THREADS % kColumns<WIDTH> == 0 && BLOCK_K % ROWS == 0);
    const int first = threadIdx.x / kColumns<WIDTH>;
    copy<BYTES, BLOCK_K / ROWS>(stage + first * PITCH + column<WIDTH>(), ROWS * PITCH, held_,
                                [&](int pass) { return reader_.depth(first + pass * ROWS); });
  }

  // Walks along k, transposing on the way.
  __device__ void along_depth(T* stage) const {
    constexpr int ROWS = THREADS / kDepthRun;  // tile indices that one pass covers
    static_assert(BLOCK % ROWS == 0);
    const int lane = threadIdx.x % kDepthRun, first = threadIdx.x / kDepthRun;
#pragma unroll
    for (int k = lane; k < BLOCK_K + lane; k += kDepthRun)
      copy<sizeof(T), BLOCK / ROWS>(stage + k * PITCH + first, ROWS, reader_.depth(k),
                                    [&](int pass) { return reader_.tile(first + pass * ROWS); });
  }

 public:
  // The reader's table of tile indices has been filled and a barrier passed.
  __device__ explicit TileCopy(Reader& reader) : reader_(reader) {
    if (reader.walk != Walk::depth)
      held_ = reader.tile(reader.walk == Walk::tile ? column<1>() : column<kVector<T>>());
  }
  __device__ void run(T* to, int stage, int left) {  // `left` k are left from this stage on
    reader_.enter(stage, left);
    if (reader_.walk == Walk::tile_vector)
      along_tile<kVector<T>>(to);
    else if (reader_.walk == Walk::tile)
      along_tile<1>(to);
    else
      along_depth(to);
    reader_.leave();
  }

 private:
  Reader& reader_;
  Place held_{};
};

}  // namespace fastnn::cuda
