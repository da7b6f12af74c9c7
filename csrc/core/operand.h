// A number or a tensor as an operand: x * 2 must not cost the making of a tensor, nor its launch on a device.
#pragma once
#include "core/tensor.h"

namespace fastnn {

// A number of the host's language. It gives way in promotion: its own dtype decides only against a lower
// category.
struct Number {
  // huge: an integer beyond 64 bits, rounded to float64, to infinity beyond that.
  enum Kind : uint8_t { boolean, integer, huge, real } kind;
  union {
    double value;   // real, huge
    int64_t whole;  // boolean, integer
  };

  Number() : Number(0.0) {}
  Number(double v) : kind(real), value(v) {}
  Number(int64_t v) : kind(integer), whole(v) {}
  Number(int v) : Number(static_cast<int64_t>(v)) {}
  Number(bool v) : kind(boolean), whole(v) {}

  static Number huge_integer(double nearest) {
    Number n(nearest);
    n.kind = huge;
    return n;
  }

  double as_double() const { return kind >= huge ? value : static_cast<double>(whole); }
  int64_t as_integer() const { return kind >= huge ? static_cast<int64_t>(value) : whole; }
  DType dtype() const {
    return kind == real ? DType::float32 : kind == boolean ? DType::boolean : DType::int64;
  }
  uint64_t bits(DType dtype) const;  // one element, as it stands in memory; an error where it cannot
};
// Refuses a number that an integer dtype cannot hold: it would become another one.
void check_fits(Number n, DType dtype);

// What an operand says in promotion: its dtype, and 2 with dimensions, 1 of a 0-d tensor, 0 of a number.
struct Spoken {
  DType dtype;
  int rank;
};
Tensor scalar(Number value);        // as a 0-d tensor, for ops that take tensors only
Number number_of(const Tensor& t);  // of one element on the CPU

// Refers to a tensor, which must outlive it, or holds a number.
class Operand {
 public:
  Operand(const Tensor& t) : tensor_(&t) {}
  template <class N>
    requires std::is_arithmetic_v<N>
  Operand(N n) : number_(n) {}
  Operand(Number n) : number_(n) {}

  bool is_number() const { return !tensor_; }
  const Tensor& tensor() const { return *tensor_; }
  Number number() const { return number_; }
  Spoken spoken() const {
    if (!tensor_) return {number_.dtype(), 0};
    if (tensor_->impl()->weak)  // as the number that it stands for
      return {tensor_->dtype() == DType::float64 ? DType::float32 : tensor_->dtype(), 0};
    return {tensor_->dtype(), tensor_->dim() == 0 ? 1 : 2};
  }

 private:
  const Tensor* tensor_ = nullptr;
  Number number_;
};

}  // namespace fastnn
