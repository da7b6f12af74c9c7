// Element types, and sets of them as the registry's rows declare.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace fastnn {

enum class DType : uint8_t { float32, float64, bfloat16, float16, int64, int32, uint8, boolean };
constexpr int kDTypes = 8;

// Storage types: kernels widen them to float, compute, and round back (ties to even).
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

constexpr size_t size_of(DType t) {
  constexpr size_t bytes[kDTypes] = {4, 8, 2, 2, 8, 4, 1, 1};
  return bytes[static_cast<int>(t)];
}
constexpr const char* name_of(DType t) {
  constexpr const char* names[kDTypes] = {"float32", "float64", "bfloat16", "float16",
                                          "int64",   "int32",   "uint8",    "bool"};
  return names[static_cast<int>(t)];
}
constexpr bool is_floating(DType t) { return t <= DType::float16; }

template <class T>
struct dtype_traits;
template <>
struct dtype_traits<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct dtype_traits<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct dtype_traits<bfloat16> {
  static constexpr DType value = DType::bfloat16;
};
template <>
struct dtype_traits<float16> {
  static constexpr DType value = DType::float16;
};
template <>
struct dtype_traits<int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct dtype_traits<int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct dtype_traits<uint8_t> {
  static constexpr DType value = DType::uint8;
};
template <>
struct dtype_traits<bool> {
  static constexpr DType value = DType::boolean;
};
template <class T>
constexpr DType dtype_of = dtype_traits<T>::value;

// A set of dtypes is a bit mask, so that a registry row can be tested at compile time.
using DTypeSet = unsigned;
constexpr DTypeSet bit(DType t) { return 1u << static_cast<int>(t); }
constexpr bool contains(DTypeSet set, DType t) { return (set & bit(t)) != 0; }

constexpr DTypeSet FLOATS = bit(DType::float32) | bit(DType::float64);
constexpr DTypeSet INTEGERS = bit(DType::int64) | bit(DType::int32) | bit(DType::uint8);
constexpr DTypeSet NUMERIC = FLOATS | INTEGERS;
constexpr DTypeSet BOOLS = bit(DType::boolean);
constexpr DTypeSet ALL = (1u << kDTypes) - 1;

enum class DeviceType : uint8_t { cpu, cuda };
constexpr int kDeviceTypes = 2;
using DeviceSet = unsigned;
constexpr DeviceSet CPU = 1u << 0;
constexpr DeviceSet CUDA = 1u << 1;

}  // namespace fastnn
