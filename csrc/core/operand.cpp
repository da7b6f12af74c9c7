#include "core/operand.h"

#include <string.h>

namespace fastnn {

Tensor scalar(Number n) {
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

uint64_t Number::bits(DType dtype) const {
  uint64_t word = 0;
  auto put = [&](auto value) { memcpy(&word, &value, sizeof value); };
  switch (dtype) {
    case DType::float32:
      put(kind == real ? static_cast<float>(value) : static_cast<float>(whole));
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
      put(static_cast<uint8_t>(kind == real ? value != 0 : whole != 0));
      break;
  }
  return word;
}

}  // namespace fastnn
