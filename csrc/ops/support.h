// What the files of csrc/ops share: validation, and the forms that most ops have.
#pragma once
#include <optional>

#include "core/autograd.h"
#include "core/launch.h"

namespace fastnn {

inline void check_defined(const char* op, const char* argument, const Tensor& x) {
  check_type(x.defined(), op, ": ", argument, " must be a Tensor, got None");
}
inline void check_floating(const char* op, const char* argument, const Tensor& x) {
  check_type(x.dtype() == DType::float32 || x.dtype() == DType::float64, op, ": ", argument,
             " must be float32 or float64, got ", x.dtype());
}
inline void check_same_dtype(const char* op, const char* name_a, const Tensor& a, const char* name_b,
                             const Tensor& b) {
  check_type(a.dtype() == b.dtype(), op, ": ", name_a, " is ", a.dtype(), " but ", name_b, " is ", b.dtype(),
             "; convert one with .to()");
}
inline void check_same_device(const char* op, const Tensor& a, const Tensor& b) {
  check(a.device() == b.device(), ErrorKind::runtime, op, ": the operands are on different devices, ",
        a.device(), " and ", b.device(), "; move one with .to()");
}

// dy summed over the dimensions that broadcasting added or stretched.
Tensor sum_to(const Tensor& dy, const Dims& shape);

// Saved only where the gradient that needs it is wanted.
inline Saved save_if(bool wanted, const Tensor& x) { return wanted ? save(x) : Saved{}; }

}  // namespace fastnn
