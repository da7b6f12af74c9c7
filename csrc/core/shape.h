// Dimensions and strides, inline, at most kMaxDims of them; arithmetic on them that cannot overflow
// unnoticed.
#pragma once
#include <algorithm>
#include <initializer_list>

#include "backend/dtype.h"
#include "backend/loop.h"
#include "core/check.h"

namespace fastnn {

class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) {
    for (int64_t v : values) push_back(v);
  }
  Dims(int n, int64_t value) : n_(n) { std::fill(d_, d_ + n, value); }

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  int64_t& operator[](int i) { return d_[i]; }
  int64_t operator[](int i) const { return d_[i]; }
  int64_t back() const { return d_[n_ - 1]; }
  const int64_t* begin() const { return d_; }
  const int64_t* end() const { return d_ + n_; }
  int64_t* begin() { return d_; }
  int64_t* end() { return d_ + n_; }
  void push_back(int64_t v) {
    check_value(n_ < kMaxDims, "a tensor can have at most ", kMaxDims, " dimensions");
    d_[n_++] = v;
  }
  void insert(int at, int64_t v) {
    push_back(v);
    std::rotate(d_ + at, d_ + n_ - 1, d_ + n_);
  }
  void erase(int at) {
    std::copy(d_ + at + 1, d_ + n_, d_ + at);
    --n_;
  }
  bool operator==(const Dims& o) const { return n_ == o.n_ && std::equal(begin(), end(), o.begin()); }

 private:
  int n_ = 0;
  int64_t d_[kMaxDims];
};

void print(std::string& out, const Dims& dims);  // as Python prints a tuple
void print(std::string& out, DType t);

// The dimensions that are not of size 1, sorted so that before(a, b) holds for neighbours. Few and nearly
// sorted.
template <class Before>
int sort_dims(const Dims& shape, int (&order)[kMaxDims], Before before) {
  int n = 0;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) order[n++] = i;
  for (int i = 1; i < n; ++i)
    for (int j = i; j > 0 && before(order[j], order[j - 1]); --j) std::swap(order[j], order[j - 1]);
  return n;
}

// Arithmetic on sizes given by the user: false when the result does not fit.
inline bool checked_mul(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }
inline bool checked_add(int64_t a, int64_t b, int64_t* out) { return !__builtin_add_overflow(a, b, out); }

// Number of elements; refuses negative dimensions and products over 2^48, before anything is allocated. As
// with NumPy dimensions of 0 do not count for that: no product of sizes, strides or offsets overflows
// anywhere.
int64_t checked_numel(const char* op, const Dims& shape);
Dims row_major_strides(const Dims& shape);

// `dim` counted from the end when negative; for a 0-d tensor 0 and -1 are allowed, as in PyTorch.
int wrap_dim(const char* op, int64_t dim, int ndim);
Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b);

}  // namespace fastnn
