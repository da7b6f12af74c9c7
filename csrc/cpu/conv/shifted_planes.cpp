#include "cpu/conv/shifted_planes.h"

#include "cpu/conv/strided_part.h"

namespace fastnn::FASTNN_ISA {
namespace {

template <class T>
void clear_rows(T* to, int64_t pitch, int64_t rows, int64_t cols) {
  for (; rows > 0; --rows, to += pitch)
    for (int64_t j = 0; j < cols; ++j) to[j] = T(0);
}

// Rows of a plane that lie in the image: `count` of them, the first at x. kVectors of 0 stands for any
// number. Unless `exact`, the last vector is stored whole: what spills is overwritten by the row that
// follows.
template <class T>
struct RowCopy {
  int vectors, last;         // vectors of a row, lanes of its last
  int64_t x_row, plane_row;  // from one row to the next
  int64_t ahead;             // elements from x that are asked for
};

template <class T, int kStep, int kVectors, bool exact>
void copy_rows(const RowCopy<T>& r, const StridedPart<T, kStep>* parts, const T* x, T* to, int64_t count) {
  using V = Vec<T>;
  constexpr int kParts = kVectors > 0 ? kVectors : 1;
  StridedPart<T, kStep> own[kParts];
  for (int v = 0; v < kParts; ++v) own[v] = parts[v];
  const StridedPart<T, kStep>* const part = kVectors > 0 ? own : parts;
  const int vectors = kVectors > 0 ? kVectors : r.vectors;
  const int64_t step = kStep > 0 ? kStep * V::N : parts[0].step * V::N;
  for (; count > 0; --count, x += r.x_row, to += r.plane_row)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      __builtin_prefetch(x + r.ahead + v * step);
      const V row = part[v].load(x + v * step);
      if (exact && v == vectors - 1)
        row.store_n(to + v * V::N, r.last);
      else
        row.store(to + v * V::N);
    }
}

template <class T, int kStep, bool exact>
void copy_rows(const RowCopy<T>& r, const StridedPart<T, kStep>* parts, const T* x, T* to, int64_t count) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (r.vectors == 1) return copy_rows<T, kStep, 1, exact>(r, parts, x, to, count);
    if (r.vectors == 2) return copy_rows<T, kStep, 2, exact>(r, parts, x, to, count);
  }
  copy_rows<T, kStep, 0, exact>(r, parts, x, to, count);
}

// Columns [q0, q1) of the planes of tap column t, at most kFillVectors vectors. `exact` is for rows that are
// not followed by the next at once.
constexpr int kFillVectors = 16;

template <class T, int kStep>
void fill_columns(const ConvShape& s, const ShiftedPlanes& planes, const T* x, int64_t channels, int64_t p0,
                  int64_t t, int64_t q0, int64_t q1, bool exact, T* out) {
  using V = Vec<T>;
  StridedPart<T, kStep> part[kFillVectors];
  RowCopy<T> copy{};
  copy.vectors = static_cast<int>(ceil_div(q1 - q0, V::N));
  copy.last = static_cast<int>(q1 - q0) - (copy.vectors - 1) * V::N;
  copy.x_row = s.stride_h * s.w, copy.plane_row = planes.pitch;
  // The next channel is too far for the processor to foresee, if it is not in cache yet.
  copy.ahead = t == 0 && kStep == 1 && s.h * s.w >= 1024 ? s.h * s.w : 0;
  const int64_t start = q0 * s.stride_w - s.pad_w + t * s.dilation_w;
  for (int v = 0; v < copy.vectors; ++v) {
    const int64_t col = start + v * V::N * s.stride_w;
    const int64_t extent = ((v < copy.vectors - 1 ? V::N : copy.last) - 1) * s.stride_w + 1;
    part[v] = {-col, min_of(s.w - col, extent), s.stride_w};
  }
  const int64_t phases = min_of(s.stride_h, (s.r - 1) * s.dilation_h + 1), rows = planes.plane / planes.pitch;
  // Rows from here on reach beyond the plane.
  const int64_t spill_free = exact ? 0 : max_of(0, rows - ceil_div(V::N, s.q));
  for (int64_t phase = 0; phase < phases; ++phase) {
    const int64_t line = p0 * s.stride_h - s.pad_h + phase;
    const TapRange inside = taps_inside(line, s.stride_h, rows, s.h);
    const int64_t middle = max_of(inside.begin, min_of(spill_free, inside.end));
    for (int64_t c = 0; c < channels; ++c) {
      T* to = out + c * planes.channel + (t * s.stride_h + phase) * planes.plane + q0;
      const T* from = x + (c * s.h + line) * s.w + start;
      clear_rows<T>(to, planes.pitch, inside.begin, q1 - q0);
      copy_rows<T, kStep, false>(copy, part, from + inside.begin * copy.x_row,
                                 to + inside.begin * planes.pitch, middle - inside.begin);
      copy_rows<T, kStep, true>(copy, part, from + middle * copy.x_row, to + middle * planes.pitch,
                                inside.end - middle);
      clear_rows<T>(to + inside.end * planes.pitch, planes.pitch, rows - inside.end, q1 - q0);
    }
  }
}

}  // namespace

template <class T>
void fill_planes(const ConvShape& s, const ShiftedPlanes& planes, const T* x, int64_t channels, int64_t p0,
                 T* out) {
  constexpr int64_t kColumns = kFillVectors * Vec<T>::N;
  for (int64_t t = 0; t < s.s; ++t)
    for (int64_t q = 0; q < s.q; q += kColumns) {
      const int64_t end = min_of(q + kColumns, s.q);
      const bool exact = s.q > kColumns || planes.pitch > s.q;
      if (s.stride_w == 1)
        fill_columns<T, 1>(s, planes, x, channels, p0, t, q, end, exact, out);
      else if (s.stride_w == 2)
        fill_columns<T, 2>(s, planes, x, channels, p0, t, q, end, exact, out);
      else
        fill_columns<T, 0>(s, planes, x, channels, p0, t, q, end, exact, out);
    }
}
template void fill_planes(const ConvShape& s, const ShiftedPlanes& planes, const float* x, int64_t channels,
                          int64_t p0, float* out);
template void fill_planes(const ConvShape& s, const ShiftedPlanes& planes, const double* x, int64_t channels,
                          int64_t p0, double* out);

}  // namespace fastnn::FASTNN_ISA
