// Moves a small box of elements from one strided place to another: gathers operands into dense buffers for
// the vector code, scatters results, copies and transposes. Elements are moved as bits of 1, 2, 4 or 8 bytes.
//
// A box is reduced to a loop over its two most useful dimensions i, j (the others form an outer nest) of one
// kind:
//   rows       dst[i * di + j]      = src[i * si + j]        contiguous on both sides
//   splat      dst[i * di + j]      = src[i * si]            one element repeated
//   transpose  dst[i * di + j]      = src[i + j * sj]        contiguous along i here, along j there
//   strided    dst[i * di + j * dj] = src[i * si + j * sj]   anything else; j is the longer dimension
#pragma once
#include "backend/elementwise.h"
#include "cpu/simd/cache.h"
#include "cpu/simd/square.h"

namespace fastnn::FASTNN_ISA {

struct Box {
  enum Kind : int { rows, splat, transpose, strided } kind;
  int ndim;  // >= 2; the last two are i and j
  int64_t extent[kMaxDims + 2], dst[kMaxDims + 2], src[kMaxDims + 2];
};

// gather: from memory into a buffer; scatter: from a buffer to memory; stream: the same, past the caches.
enum class Move : int { gather, scatter, stream };

// Dimension `from` of the box takes place `to`, the ones between move up by one.
inline void move_dim(Box& box, int from, int to) {
  const int64_t e = box.extent[from], d = box.dst[from], s = box.src[from];
  const int step = from < to ? 1 : -1;
  for (int i = from; i != to; i += step) {
    box.extent[i] = box.extent[i + step];
    box.dst[i] = box.dst[i + step];
    box.src[i] = box.src[i + step];
  }
  box.extent[to] = e, box.dst[to] = d, box.src[to] = s;
}

// The last dimension of the box along which `stride` is 1, or -1.
inline int unit_dim(const Box& box, const int64_t* stride) {
  for (int d = box.ndim - 1; d >= 0; --d)
    if (stride[d] == 1) return d;
  return -1;
}
inline int longest_dim(const Box& box, int ndim) {
  int longest = ndim - 1;
  for (int d = ndim - 2; d >= 0; --d)
    if (box.extent[d] > box.extent[longest]) longest = d;
  return longest;
}

inline Box make_box(int ndim, const int64_t* extent, const int64_t* dst, const int64_t* src) {
  constexpr int64_t kShort = 8;  // rows shorter than this cost more than they bring
  Box box;
  box.extent[0] = 1, box.dst[0] = 0, box.src[0] = 0;
  int n = 1;  // a first dimension of extent 1, so that i and j always exist
  for (int d = 0; d < ndim; ++d) {
    if (extent[d] == 1) continue;
    if (n > 1 && box.dst[n - 1] == dst[d] * extent[d] && box.src[n - 1] == src[d] * extent[d])
      box.extent[n - 1] *= extent[d];
    else
      box.extent[n++] = extent[d];
    box.dst[n - 1] = dst[d], box.src[n - 1] = src[d];
  }
  if (n == 1) box.extent[n] = 1, box.dst[n] = 1, box.src[n] = 1, ++n;
  box.ndim = n;

  const int j = unit_dim(box, box.dst), other = unit_dim(box, box.src);
  box.kind = Box::strided;
  if (j > 0 && box.extent[j] >= kShort && (box.src[j] == 1 || box.src[j] == 0)) {
    box.kind = box.src[j] == 1 ? Box::rows : Box::splat;
    move_dim(box, j, n - 1);
  } else if (j > 0 && other > 0 && j != other && box.extent[j] >= 4 && box.extent[other] >= 4) {
    box.kind = Box::transpose;
    move_dim(box, j, n - 1);
    move_dim(box, other > j ? other - 1 : other, n - 2);
  } else {
    move_dim(box, longest_dim(box, n), n - 1);
    move_dim(box, longest_dim(box, n - 1), n - 2);
  }
  return box;
}

// dst and src do not overlap, so the last, partial vector may cover bytes that are already there.
FASTNN_INLINE void copy_bytes(char* dst, const char* src, int64_t bytes) {
  constexpr int64_t V = kVectorBytes;
  using Byte = Vec<uint8_t>;
  auto one = [&](int64_t at) {
    Byte::load(reinterpret_cast<const uint8_t*>(src) + at).store(reinterpret_cast<uint8_t*>(dst) + at);
  };
  if (bytes < V) {
    memcpy(dst, src, static_cast<size_t>(bytes));
    return;
  }
  int64_t at = 0;
  for (; at + 4 * V <= bytes; at += 4 * V) one(at), one(at + V), one(at + 2 * V), one(at + 3 * V);
  for (; at + V <= bytes; at += V) one(at);
  if (at < bytes) one(bytes - V);
}

// The same past the caches, for memory that is not read again soon. stream_end() orders it before what
// follows.
inline void stream_bytes(char* dst, const char* src, int64_t bytes) {
  constexpr int64_t V = kVectorBytes;
  using Byte = Vec<uint8_t>;
  const int64_t head = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(dst) % V);
  if (bytes < head + V) return copy_bytes(dst, src, bytes);
  memcpy(dst, src, static_cast<size_t>(head));
  int64_t at = head;
  for (; at + V <= bytes; at += V)
    stream_vector(Byte::load(reinterpret_cast<const uint8_t*>(src) + at),
                  reinterpret_cast<uint8_t*>(dst) + at);
  memcpy(dst + at, src + at, static_cast<size_t>(bytes - at));
}

template <class U>
FASTNN_INLINE void splat_row(char* dst, const char* src, int64_t n) {
  U value;
  memcpy(&value, src, sizeof value);
  if constexpr (sizeof(U) == 2) {
    for (int64_t i = 0; i < n; ++i) memcpy(dst + 2 * i, &value, 2);
  } else {
    constexpr int64_t W = Vec<U>::N;
    const Vec<U> repeated(value);
    U* y = reinterpret_cast<U*>(dst);
    int64_t i = 0;
    for (; i + W <= n; i += W) repeated.store(y + i);
    if (i < n) repeated.store_n(y + i, static_cast<int>(n - i));
  }
}

// n copies of the element at src.
inline void splat(char* dst, const char* src, int64_t n, int size) {
  switch (size) {
    case 1:
      return splat_row<uint8_t>(dst, src, n);
    case 2:
      return splat_row<uint16_t>(dst, src, n);
    case 4:
      return splat_row<uint32_t>(dst, src, n);
    default:
      return splat_row<uint64_t>(dst, src, n);
  }
}

// One side is a buffer in the first-level cache; the memory side is walked line by line, so that each cache
// line is touched once even where the leading stride maps all rows to the same cache set.
template <class U>
inline void transpose_box(char* dst, int64_t di, const char* src, int64_t sj, int64_t ni, int64_t nj,
                          Move way) {
  constexpr int S = kSquare<U>;
  constexpr int64_t size = sizeof(U);
  const int64_t whole_i = ni / S * S, whole_j = nj / S * S;
  if (way == Move::gather) {
    for (int64_t j = 0; j < whole_j; j += S)
      for (int64_t i = 0; i < whole_i; i += S)
        transpose_square(dst + i * di + j * size, di, src + i * size + j * sj, sj, U());
  } else {
    for (int64_t i = 0; i < whole_i; i += S)
      for (int64_t j = 0; j < whole_j; j += S)
        transpose_square(dst + i * di + j * size, di, src + i * size + j * sj, sj, U());
  }
  for (int64_t i = 0; i < ni; ++i)
    for (int64_t j = i < whole_i ? whole_j : 0; j < nj; ++j)
      move_one<U>(dst + i * di + j * size, src + i * size + j * sj);
}

template <class U>
inline void move_plane(char* dst, const char* src, const Box& box, Move way) {
  constexpr int64_t size = sizeof(U);
  const int i_dim = box.ndim - 2, j_dim = box.ndim - 1;
  const int64_t ni = box.extent[i_dim], nj = box.extent[j_dim];
  const int64_t di = box.dst[i_dim] * size, si = box.src[i_dim] * size;
  const int64_t dj = box.dst[j_dim] * size, sj = box.src[j_dim] * size;
  switch (box.kind) {
    case Box::rows: {
      // Only whole cache lines gain from going past the caches.
      const bool lines = (reinterpret_cast<uintptr_t>(dst) | static_cast<uint64_t>(di | nj * size)) % 64 == 0;
      for (int64_t i = 0; i < ni; ++i)
        if (way == Move::stream && lines)
          stream_bytes(dst + i * di, src + i * si, nj * size);
        else
          copy_bytes(dst + i * di, src + i * si, nj * size);
      break;
    }
    case Box::splat:
      for (int64_t i = 0; i < ni; ++i) splat_row<U>(dst + i * di, src + i * si, nj);
      break;
    case Box::transpose:
      transpose_box<U>(dst, di, src, sj, ni, nj, way);
      break;
    case Box::strided:
      for (int64_t i = 0; i < ni; ++i)
        for (int64_t j = 0; j < nj; ++j) move_one<U>(dst + i * di + j * dj, src + i * si + j * sj);
      break;
  }
}

template <class U>
inline void move_box_of(char* dst, const char* src, const Box& box, Move way) {
  const int outer = box.ndim - 2;
  int64_t at[kMaxDims + 2] = {};
  for (;;) {
    move_plane<U>(dst, src, box, way);
    int d = outer - 1;
    for (; d >= 0; --d) {
      dst += box.dst[d] * static_cast<int64_t>(sizeof(U));
      src += box.src[d] * static_cast<int64_t>(sizeof(U));
      if (++at[d] < box.extent[d]) break;
      dst -= box.dst[d] * box.extent[d] * static_cast<int64_t>(sizeof(U));
      src -= box.src[d] * box.extent[d] * static_cast<int64_t>(sizeof(U));
      at[d] = 0;
    }
    if (d < 0) return;
  }
}

inline void move_box(char* dst, const char* src, int size, const Box& box, Move way) {
  switch (size) {
    case 1:
      return move_box_of<uint8_t>(dst, src, box, way);
    case 2:
      return move_box_of<uint16_t>(dst, src, box, way);
    case 4:
      return move_box_of<uint32_t>(dst, src, box, way);
    default:
      return move_box_of<uint64_t>(dst, src, box, way);
  }
}

}  // namespace fastnn::FASTNN_ISA
