#include "core/promotion.h"

namespace fastnn {

static int category(DType t) { return t == DType::boolean ? 0 : is_floating(t) ? 2 : 1; }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (category(a) != category(b)) return category(a) > category(b) ? a : b;
  if (category(a) == 2) {
    if (a == DType::float64 || b == DType::float64) return DType::float64;
    return DType::float32;  // float16 with bfloat16 meets in float32
  }
  if (a == DType::int64 || b == DType::int64) return DType::int64;
  return DType::int32;  // int32 with uint8
}

DType result_type(Spoken a, Spoken b) {
  const bool a_first = a.rank >= b.rank;
  const DType high = a_first ? a.dtype : b.dtype, low = a_first ? b.dtype : a.dtype;
  if (a.rank == b.rank || category(low) > category(high)) return promote(high, low);
  return high;
}
DType result_type(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype() && !a.impl()->weak && !b.impl()->weak) return a.dtype();
  return result_type(Operand(a).spoken(), Operand(b).spoken());
}

bool fits(int64_t value, DType dtype) {
  switch (dtype) {
    case DType::int64:
      return true;
    case DType::int32:
      return value == static_cast<int32_t>(value);
    case DType::uint8:
      return value == static_cast<uint8_t>(value);
    default:
      return value == 0 || value == 1;
  }
}

}  // namespace fastnn
