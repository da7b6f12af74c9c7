// Convolution.
#pragma once
#include "ops/conv/conv.h"
#include "python/activation.h"

namespace fastnn {

// Rows and columns: an int for both, or two.
template <>
struct From<Pair> : Held<Pair> {
  static constexpr TypeName type{"int | Sequence[int]"};
  From(const Arguments& a, int i, const char* expected = "one or two ints") {
    const Dims dims = as_dims(a, i, expected);
    check_value(dims.size() == 1 || dims.size() == 2, op_of(a), ": ", argument_of(a, i),
                " must be one or two integers, got ", dims);
    value = {dims[0], dims.back()};
  }
};

struct Padding {
  Pair size;
  bool same;
};
template <>
struct From<Padding> : Held<Padding> {
  static constexpr TypeName type{"int | Sequence[int] | str"};
  From(const Arguments& a, int i) {
    if (PyUnicode_Check(a[i])) {
      const std::string_view name = as_text(a, i);
      check_value(name == "same" || name == "valid", op_of(a), ": ", argument_of(a, i),
                  " must be integers, 'same' or 'valid', got '", name, "'");
      value = {{0, 0}, name == "same"};
    } else {
      value = {From<Pair>(a, i, "one or two ints, 'same' or 'valid'").get(), false};
    }
  }
};

inline void define_conv(Definitions& d) {
  d.internal(
      "conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, activation='none')",
      [](const Tensor& x, const Tensor& w, const Tensor& bias, const Pair& stride, const Padding& padding,
         const Pair& dilation, int64_t groups, Activation activation) {
        return conv2d(x, w, bias,
                      {.stride = stride,
                       .padding = padding.size,
                       .dilation = dilation,
                       .groups = groups,
                       .same = padding.same},
                      activation);
      },
      "Two-dimensional convolution: input (N, C, H, W), weight (K, C / groups, R, S), bias (K,); padding "
      "also 'same' or 'valid'.");
}

}  // namespace fastnn
