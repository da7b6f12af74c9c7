#include "core/shape.h"

namespace fastnn {

void print(std::string& out, const Dims& dims) {
  out += '(';
  for (int i = 0; i < dims.size(); ++i) {
    if (i) out += ", ";
    print(out, static_cast<long long>(dims[i]));
  }
  out += dims.size() == 1 ? ",)" : ")";
}
void print(std::string& out, DType t) { out += name_of(t); }

int64_t checked_numel(const char* op, const Dims& shape) {
  int64_t n = 1;
  bool fits = true, empty = false;
  for (int64_t d : shape) {
    check_value(d >= 0, op, ": negative dimension in shape ", shape);
    empty |= d == 0;
    fits = fits && checked_mul(n, std::max<int64_t>(d, 1), &n) && n < (int64_t{1} << 48);
  }
  check_value(fits, op, ": shape ", shape, " has too many elements");
  return empty ? 0 : n;
}

Dims row_major_strides(const Dims& shape) {
  Dims strides(shape.size(), 1);
  for (int i = shape.size() - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * std::max<int64_t>(shape[i + 1], 1);
  return strides;
}

int wrap_dim(const char* op, int64_t dim, int ndim) {
  const int n = std::max(ndim, 1);
  check_index(dim >= -n && dim < n, op, ": dimension ", dim, " is out of range for a tensor of ", ndim,
              " dimensions (", -n, " to ", n - 1, ")");
  return static_cast<int>(dim < 0 ? dim + n : dim);
}

Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b) {
  if (a == b) return a;
  const int n = std::max(a.size(), b.size());
  Dims out(n, 1);
  for (int i = 1; i <= n; ++i) {
    const int64_t da = i <= a.size() ? a[a.size() - i] : 1, db = i <= b.size() ? b[b.size() - i] : 1;
    check_value(da == db || da == 1 || db == 1, op, ": shapes ", a, " and ", b,
                " do not broadcast: aligned at the right, dimensions must be equal or 1");
    out[n - i] = da == 1 ? db : da;
  }
  return out;
}

}  // namespace fastnn
