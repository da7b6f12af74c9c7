// Tiles of an image for Winograd's algorithm (winograd_transform.h), with channels along the vectors.
//
// Outputs are cut into tiles of m x m, and tiles into blocks that one task handles: some rows and columns of
// tiles of an image, or whole images where these are small. A block's part of the source is first copied to a
// slab, turned round to have its channels side by side and its padding in place:
//
//     slab[image][line][column][channel]
//
// From there every tile and 16 channels are transformed by themselves, and no lane is idle whatever the size
// of the image. The results of point f, one of (m + 2)^2, are the rows of a matrix: points[f][tile][channel].
#pragma once
#include "cpu/conv/shape.h"
#include "cpu/conv/winograd_transform.h"
#include "cpu/simd/part.h"
#include "cpu/simd/transpose.h"

namespace fastnn::FASTNN_ISA {

constexpr int64_t kWinogradPairs = 16 * 96;  // of a tile and a point, in a block: 400 KB for 64 channels
constexpr int64_t kWinogradCols = 32;        // of a block of tiles at most

// How an output of p x q is cut; a function of shapes alone.
struct TileGrid {
  int64_t tile;                                  // m
  int64_t rows, cols;                            // of tiles in an image
  int64_t block_images, block_rows, block_cols;  // of a block
  int64_t row_blocks, col_blocks, blocks;

  int64_t block_tiles() const { return block_images * block_rows * block_cols; }
  int64_t points() const { return (tile + 2) * (tile + 2); }
};

inline TileGrid tile_grid(int64_t tile, int64_t images, int64_t p, int64_t q) {
  TileGrid g{};
  g.tile = tile;
  g.rows = ceil_div(p, tile), g.cols = ceil_div(q, tile);
  const int64_t wanted = kWinogradPairs / g.points();
  g.col_blocks = ceil_div(g.cols, kWinogradCols);
  g.block_cols = ceil_div(g.cols, g.col_blocks);
  g.row_blocks = ceil_div(g.rows, max_of(1, wanted / g.block_cols));
  g.block_rows = ceil_div(g.rows, g.row_blocks);
  g.block_images =
      g.row_blocks * g.col_blocks > 1 ? 1 : min_of(images, max_of(1, wanted / (g.rows * g.cols)));
  g.blocks = ceil_div(images, g.block_images) * g.row_blocks * g.col_blocks;
  return g;
}

// The tiles of one block: images [n0, n1), rows [i0, i1), columns [j0, j1).
struct TileBlock {
  int64_t n0, n1, i0, i1, j0, j1;

  TileBlock(const TileGrid& g, int64_t images, int64_t block) {
    const int64_t col = block % g.col_blocks, rest = block / g.col_blocks;
    n0 = rest / g.row_blocks * g.block_images, n1 = min_of(n0 + g.block_images, images);
    i0 = rest % g.row_blocks * g.block_rows, i1 = min_of(i0 + g.block_rows, g.rows);
    j0 = col * g.block_cols, j1 = min_of(j0 + g.block_cols, g.cols);
  }
  int64_t tiles() const { return (n1 - n0) * (i1 - i0) * (j1 - j0); }
};

// Some channels of images: element (n, c, i, j) at data[n * image + (c * height + i) * width + j].
template <class T>
struct Planes {
  const T* data;
  int64_t image, channels, height, width;
};

// Elements from one pixel of a slab, and from one row of points, to the next.
template <class T>
constexpr int64_t padded_channels(int64_t channels) {
  return round_up(channels, Vec<T>::N);
}
// From one point's matrix to the next: an odd number of cache lines, for its rows are written side by side,
// and at a power of two they would all fall into the same few sets of the cache.
template <class T>
constexpr int64_t point_step(int64_t elements) {
  constexpr int64_t line = 64 / sizeof(T);
  return (ceil_div(elements, line) | 1) * line;
}

// Lines [line0, line0 + lines) and columns [col0, col0 + cols) of every channel, zero outside the image.
template <class T>
void fill_slab(const Planes<T>& x, int64_t n, int64_t line0, int64_t lines, int64_t col0, int64_t cols,
               T* slab) {
  using V = Vec<T>;
  constexpr int kAhead = 2;  // lines: planes are too far apart for the processor to foresee
  const int64_t pitch = padded_channels<T>(x.channels), plane = x.height * x.width;
  const int64_t begin = max_of(0, -col0), end = max_of(begin, min_of(cols, x.width - col0));
  for (int64_t c = 0; c < x.channels; c += V::N) {
    const int channels = static_cast<int>(min_of(V::N, x.channels - c));
    T* to = slab + c;
    for (int64_t line = line0; line < line0 + lines; ++line, to += cols * pitch) {
      const bool outside = line < 0 || line >= x.height;
      for (int64_t j = 0; j < (outside ? cols : begin); ++j) V(T(0)).store(to + j * pitch);
      if (outside) continue;
      for (int64_t j = end; j < cols; ++j) V(T(0)).store(to + j * pitch);
      const T* from = x.data + n * x.image + c * plane + line * x.width + col0;
      for (int64_t j = begin; j < end; j += V::N) {
        const int pixels = static_cast<int>(min_of(V::N, end - j));
#pragma GCC unroll 16
        for (int l = 0; l < V::N; ++l) __builtin_prefetch(from + j + l * plane + kAhead * x.width);
        V row[V::N];
        load_transposed(row, from + j, plane, channels, pixels);
#pragma GCC unroll 16
        for (int l = 0; l < V::N; ++l)
          if (l < pixels) row[l].store(to + (j + l) * pitch);
      }
    }
  }
}

// Calls f(tile, corner) for every tile of a block, in order; its square of `size` pixels begins at `corner`
// of the slab, which holds `tile` pixels per tile and size - tile more along each dimension.
template <class T, class F>
void for_slab_tiles(const TileGrid& g, const TileBlock& b, int64_t size, int64_t pitch, const T* slab, F f) {
  const int64_t lines = (b.i1 - b.i0) * g.tile + size - g.tile, cols = (b.j1 - b.j0) * g.tile + size - g.tile;
  int64_t tile = 0;
  for (int64_t n = 0; n < b.n1 - b.n0; ++n)
    for (int64_t i = 0; i < b.i1 - b.i0; ++i)
      for (int64_t j = 0; j < b.j1 - b.j0; ++j)
        f(tile++, slab + ((n * lines + i * g.tile) * cols + j * g.tile) * pitch);
}

template <class T>
int64_t slab_elements(const TileGrid& g, int64_t size, int64_t channels) {
  return g.block_images * (g.block_rows * g.tile + size - g.tile) * (g.block_cols * g.tile + size - g.tile) *
         padded_channels<T>(channels);
}

// The slab of a block of squares of `size` pixels. The first square of an image begins pad_h lines and pad_w
// columns before it.
template <class T>
void fill_block_slab(const TileGrid& g, const TileBlock& b, const Planes<T>& x, int64_t size, int64_t pad_h,
                     int64_t pad_w, T* slab) {
  const int64_t lines = (b.i1 - b.i0) * g.tile + size - g.tile, cols = (b.j1 - b.j0) * g.tile + size - g.tile;
  for (int64_t n = b.n0; n < b.n1; ++n, slab += lines * cols * padded_channels<T>(x.channels))
    fill_slab(x, n, b.i0 * g.tile - pad_h, lines, b.j0 * g.tile - pad_w, cols, slab);
}

// points[f][tile][channel] of a slab's tiles.
template <class T, int m, int size, void (*transform)(const Vec<T> (&)[size], Vec<T> (&)[m + 2])>
void transform_tiles(const TileGrid& g, const TileBlock& b, int64_t channels, const T* slab, int64_t step,
                     T* points) {
  using V = Vec<T>;
  const int64_t pitch = padded_channels<T>(channels), line = ((b.j1 - b.j0) * m + size - m) * pitch;
  for_slab_tiles(g, b, size, pitch, slab, [&](int64_t tile, const T* corner) {
    T* const to = points + tile * pitch;
    for (int64_t c = 0; c < channels; c += V::N)
      transform_square<T, size, m + 2, transform>(
          [&](int i, int j) { return V::load(corner + i * line + j * pitch + c); },
          [&](int i, int j, V v) { v.store(to + (i * (m + 2) + j) * step + c); });
  });
}

// Taps of a filter, as rows of blocks that can be transposed.
constexpr int kWinogradTaps = 9;
template <class T>
struct TapBlocks {
  static constexpr int N = Vec<T>::N, kBlocks = (kWinogradTaps - 1) / N + 1;
  Vec<T> row[kBlocks][N];

  FASTNN_INLINE Vec<T>& operator[](int tap) { return row[tap / N][tap % N]; }
  static FASTNN_INLINE int length(int block) { return clamp_lane(kWinogradTaps - block * N, N); }
};

}  // namespace fastnn::FASTNN_ISA
