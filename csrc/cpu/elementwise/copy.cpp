// Copies, casts, fills and ranges. A copy between layouts is cut into tiles; where the two sides are
// contiguous along different dimensions (a transpose), a tile goes through a buffer, so that both sides are
// touched in whole cache lines.
#include "backend/elementwise.h"
#include "cpu/elementwise/rows.h"
#include "cpu/simd/convert.h"

namespace fastnn::FASTNN_ISA {

constexpr double kCopyByte = 0.1;  // nanoseconds

static Status copy_dense(Context& ctx, char* y, const char* x, int64_t bytes) {
  constexpr int64_t kPart = 1 << 18;
  const double work = kCopyByte * static_cast<double>(bytes);
  return parallel_for(ctx, ceil_div(bytes, kPart), work, [&](int64_t part, int) {
    const int64_t from = part * kPart, count = bytes - from < kPart ? bytes - from : kPart;
    if (bytes < kStreamBytes) return copy_bytes(y + from, x + from, count);
    stream_bytes(y + from, x + from, count);
    stream_end();
  });
}

// Squares of 256 bytes a side, where a transpose needs them: 64 rows of 64 floats.
constexpr int64_t kSquareBytes = 16384;

static void copy_tiles(TileWalk<2>& walk, int64_t tiles, int across, bool stream) {
  alignas(64) char buffer[kSquareBytes];
  const int ndim = walk.loop.ndim, size = walk.size[0];
  const Move out = stream ? Move::stream : Move::scatter;
  TileWalk<2> ahead = walk;
  Box direct, to_buffer, from_buffer;
  const bool prefetch = across >= 0 && walk.count < walk.loop.numel;
  for (;; walk.next()) {
    if (walk.reshaped) {
      int64_t packed[kMaxDims];
      dense_strides(ndim, walk.extent, packed);
      direct = make_box(ndim, walk.extent, walk.loop.stride[0], walk.loop.stride[1]);
      to_buffer = make_box(ndim, walk.extent, packed, walk.loop.stride[1]);
      from_buffer = make_box(ndim, walk.extent, walk.loop.stride[0], packed);
    }
    if (prefetch) {
      ahead.next();
      prefetch_tile(ahead, 1, across);
      if (!stream) prefetch_tile(ahead, 0, across);
    }
    if (direct.kind == Box::transpose) {
      move_box(buffer, walk.at[1], size, to_buffer, Move::gather);
      move_box(walk.at[0], buffer, size, from_buffer, out);
    } else {
      move_box(walk.at[0], walk.at[1], size, direct, out);
    }
    if (--tiles == 0) break;
  }
  if (stream) stream_end();
}

static Status copy(Context& ctx, const Loop<2>& loop, char* y, const char* x, int size) {
  if (loop.numel == 0) return Status::ok;
  const int64_t bytes = loop.numel * size;
  if (is_dense(loop.ndim, loop.shape, loop.stride[0]) && is_dense(loop.ndim, loop.shape, loop.stride[1]))
    return copy_dense(ctx, y, x, bytes);
  int64_t tile[kMaxDims];
  const int across = choose_tile(loop.ndim, loop.shape, loop.stride, 2, kSquareBytes / size, tile);
  char* const base[2] = {y, const_cast<char*>(x)};
  const int sizes[2] = {size, size};
  return for_tiles(
      ctx, loop, base, sizes, tile, 2 * kCopyByte * static_cast<double>(bytes),
      [&](TileWalk<2>& walk, int64_t tiles) { copy_tiles(walk, tiles, across, bytes >= kStreamBytes); });
}

template <class To, class From>
Status cast_to(Context& ctx, const CastParams& p) {
  char* const x = const_cast<char*>(static_cast<const char*>(p.x));
  if constexpr (dtype_of<To> == dtype_of<From>)
    return copy(ctx, p.loop, static_cast<char*>(p.y), x, sizeof(To));
  else
    return walk<2>(
        ctx, p.loop, {static_cast<char*>(p.y), x}, {sizeof(To), sizeof(From)},
        kCopyByte * (sizeof(To) + sizeof(From)), [](char* const* operand, int64_t n, const double*) {
          convert_run(reinterpret_cast<To*>(operand[0]), reinterpret_cast<const From*>(operand[1]), n);
        });
}
template <class From>
Status cast(Context& ctx, const CastParams& p) {
  if constexpr (dtype_of<From> == DType::boolean) {  // bytes, 0 or 1
    return p.to == DType::boolean ? cast_to<bool, bool>(ctx, p) : cast<uint8_t>(ctx, p);
  } else {
    switch (p.to) {
      case DType::float32:
        return cast_to<float, From>(ctx, p);
      case DType::float64:
        return cast_to<double, From>(ctx, p);
      case DType::bfloat16:
        return cast_to<bfloat16, From>(ctx, p);
      case DType::float16:
        return cast_to<float16, From>(ctx, p);
      case DType::int64:
        return cast_to<int64_t, From>(ctx, p);
      case DType::int32:
        return cast_to<int32_t, From>(ctx, p);
      case DType::uint8:
        return cast_to<uint8_t, From>(ctx, p);
      default:
        return cast_to<bool, From>(ctx, p);
    }
  }
}

// A copy of one element that every index maps to.
template <class T>
Status fill(Context& ctx, const FillParams& p) {
  T value;
  if constexpr (is_half<T> || std::is_floating_point_v<T>)
    convert_run(&value, &p.value, 1);
  else
    convert_run(&value, &p.integer, 1);
  Loop<2> loop{p.loop.ndim, p.loop.numel, {}, {}};
  for (int d = 0; d < p.loop.ndim; ++d)
    loop.shape[d] = p.loop.shape[d], loop.stride[0][d] = p.loop.stride[0][d];
  return copy(ctx, loop, static_cast<char*>(p.y), reinterpret_cast<const char*>(&value), sizeof(T));
}

// Floating types: start + i step in double; integers exactly.
template <class T>
Status arange(Context& ctx, const ArangeParams& p) {
  T* const y = static_cast<T*>(p.y);
  const double start = p.start, step = p.step;
  return parallel_for(ctx, ceil_div(p.numel, kTaskElements), kCheap<T> * static_cast<double>(p.numel),
                      [&](int64_t block, int) {
                        const int64_t first = block * kTaskElements,
                                      last = min_of(p.numel, first + kTaskElements);
                        if constexpr (std::is_floating_point_v<T>)
                          for (int64_t i = first; i < last; ++i)
                            y[i] = static_cast<T>(start + static_cast<double>(i) * step);
                        else
                          for (int64_t i = first; i < last; ++i)
                            y[i] = static_cast<T>(static_cast<uint64_t>(p.first) +
                                                  static_cast<uint64_t>(i) * static_cast<uint64_t>(p.stride));
                      });
}

// out = condition ? a : b
struct Where {
  using Parameters = None;
  static constexpr int inputs = 3;
  template <int k, class T>
  using Input = std::conditional_t<k == 0, bool, T>;
  template <class M, class V>
  static FASTNN_INLINE V call(None, M condition, V a, V b) {
    return select(condition, a, b);
  }
};
template <class T>
Status where(Context& ctx, const ElementwiseParams& p) {
  return map<Where, Lane<T>, Lane<T>>(ctx, p);
}

FASTNN_EXPORT_PART(ElementwiseTable, copy, FASTNN_COPY)

}  // namespace fastnn::FASTNN_ISA
