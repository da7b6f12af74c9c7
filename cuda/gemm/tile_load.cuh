// Operands of a product C (m x n) = A (m x k) B (k x n), and their way into shared memory.
//
// A block computes a BLOCK_M x BLOCK_N tile of C and passes over k in stages of BLOCK_K. Either operand
// brings a BLOCK_K x BLOCK tile per stage, k-major: the element of tile index i (a row of A, a column of B)
// at depth k lies at stage[k * pitch + i]. One pitch serves every reader and writer without bank conflicts,
// because it is 16 bytes more than a multiple of 128:
//   - a row of one k is read and written in 16-byte pieces, aligned;
//   - elements that come along k from memory are written 8 k x 4 i a warp: of 4 bytes to banks 4 k + i, 32
//     different ones; of 8 bytes in two halves, each without a conflict;
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
enum class Layout : int { tile_vector, tile, depth };

// A stretch of an operand: its first tile index and k, and what is left of both from there.
struct Stretch {
  int64_t tile, tiles_left, depth, depth_left, batch;
};

// ---- an operand that is a matrix: element (i, k) is base[i * tile_stride + k * depth_stride], one of them 1

template <class T>
struct Matrix {
  const T* base;
  int64_t tile_stride, depth_stride, batch_stride;
  Layout layout;

  Matrix() = default;
  Matrix(const void* p, int64_t tiles, int64_t tile_stride, int64_t depth_stride, int64_t batch_stride)
      : base(static_cast<const T*>(p)),
        tile_stride(tile_stride),
        depth_stride(depth_stride),
        batch_stride(batch_stride) {
    const bool pieces = vector_aligned(p) && (tiles | depth_stride | batch_stride) % kVector<T> == 0;
    layout = tile_stride != 1 ? Layout::depth : pieces ? Layout::tile_vector : Layout::tile;
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
  __device__ MatrixReader(const Matrix<T>& m, const Stretch& w, SharedMemory&)
      : layout(m.layout),
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

  const Layout layout;

 private:
  const T* at_;
  const int64_t tile_stride_, depth_stride_;
  const int tiles_left_;
  int left_ = 0;
};

template <class Operand, int BLOCK>
struct ReaderOf;
template <class T, int BLOCK>
struct ReaderOf<Matrix<T>, BLOCK> {
  using type = MatrixReader<T, BLOCK>;
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
    if (reader.layout != Layout::depth)
      held_ = reader.tile(reader.layout == Layout::tile ? column<1>() : column<kVector<T>>());
  }
  __device__ void run(T* to, int stage, int left) {  // `left` k are left from this stage on
    reader_.enter(stage, left);
    if (reader_.layout == Layout::tile_vector)
      along_tile<kVector<T>>(to);
    else if (reader_.layout == Layout::tile)
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
