#include "core/operand.h"

#include <stdint.h>
#include <string.h>

#include <cmath>

namespace fastnn {

Tensor scalar(Number n) {
  check_value(n.kind != Number::huge, "an integer operand does not fit 64 bits");
  return n.kind == Number::real      ? scalar(n.value)
         : n.kind == Number::integer ? scalar(n.whole)
                                     : scalar(n.whole != 0);
}
Number number_of(const Tensor& t) {
  switch (t.dtype()) {
    case DType::boolean:
      return *t.data<bool>();
    case DType::int64:
      return *t.data<int64_t>();
    default:
      return *t.data<double>();
  }
}

void check_fits(Number n, DType dtype) {
  if (is_floating(dtype) || dtype == DType::boolean) return;
  const int64_t low = dtype == DType::uint8 ? 0 : dtype == DType::int32 ? INT32_MIN : INT64_MIN;
  const int64_t high = dtype == DType::uint8 ? UINT8_MAX : dtype == DType::int32 ? INT32_MAX : INT64_MAX;
  if (n.kind < Number::huge) {
    check_value(low <= n.whole && n.whole <= high, "the number ", n.whole, " does not fit ", dtype, " (", low,
                " to ", high, ")");
    return;
  }
  // Above -2^63 - 1 is the same double as from -2^63 on.
  const bool fits = n.kind == Number::real && n.value >= static_cast<double>(low) &&
                    n.value < static_cast<double>(high) + 1;
  check_value(fits, "the number ", n.value, " does not fit ", dtype, " (", low, " to ", high, ")");
}

uint64_t Number::bits(DType dtype) const {
  check_fits(*this, dtype);
  check_value(kind != huge || std::isfinite(value), "an integer operand does not fit float64");
  uint64_t word = 0;
  auto put = [&](auto value) { memcpy(&word, &value, sizeof value); };
  switch (dtype) {
    case DType::float32:
      put(kind >= huge ? static_cast<float>(value) : static_cast<float>(whole));
      break;
    case DType::float64:
      put(as_double());
      break;
    case DType::int64:
      put(as_integer());
      break;
    case DType::int32:
      put(static_cast<int32_t>(as_integer()));
      break;
    case DType::uint8:
      put(static_cast<uint8_t>(as_integer()));
      break;
    default:
      put(static_cast<uint8_t>(kind >= huge ? value != 0 : whole != 0));
      break;
  }
  return word;
}

}  // namespace fastnn
