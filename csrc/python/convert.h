// How the types of ops convert from and to Python's (function.h says when).
#pragma once
#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "python/function.h"
#include "python/tensor.h"

namespace fastnn {

// ---- one argument of a call; these throw a TypeError that names it

Tensor as_operand(const Arguments& a, int i);  // a number or an array; undefined for None where that may be
void as_operand(const Arguments& a, int i, Tensor* held, Operand* operand);
std::vector<Tensor> as_tensors(const Arguments& a, int i);
int64_t as_integer(const Arguments& a, int i);
uint64_t as_unsigned(const Arguments& a, int i);
double as_float(const Arguments& a, int i);
bool as_truth(const Arguments& a, int i);
std::string_view as_text(const Arguments& a, int i);
Dims as_dims(const Arguments& a, int i, const char* expected = "an int or a sequence of ints");
Dims as_rest_dims(const Arguments& a, int i);  // *shape: ints, or one sequence of them
DType as_dtype(const Arguments& a, int i);
Device as_device(const Arguments& a, int i);
[[noreturn]] void fail_word(const Arguments& a, int i, const char* const* words, size_t n);

// ---- arguments

template <class T>
struct From<const T&> : From<T> {
  using From<T>::From;
};

template <>
struct From<const Tensor&> {
  static constexpr TypeName type{"Tensor"};
  From(const Arguments& a, int i) {
    if (is_tensor(a[i]))
      tensor_ = &unwrap(a[i]);
    else
      held_ = as_operand(a, i);
  }
  const Tensor& get() const { return *tensor_; }

 private:
  Tensor held_;
  const Tensor* tensor_ = &held_;
};

template <>
struct From<const Operand&> {
  static constexpr TypeName type{"Tensor"};
  From(const Arguments& a, int i) { as_operand(a, i, &held_, &operand_); }
  const Operand& get() const { return operand_; }

 private:
  Tensor held_;
  Operand operand_{0};
};

template <class T>
struct Held {
  T value;
  const T& get() const { return value; }
};

template <>
struct From<int64_t> : Held<int64_t> {
  static constexpr TypeName type{"int"};
  From(const Arguments& a, int i) : Held{as_integer(a, i)} {}
};
template <>
struct From<int> : Held<int> {
  static constexpr TypeName type{"int"};
  From(const Arguments& a, int i) : Held{static_cast<int>(as_integer(a, i))} {
    if (value != as_integer(a, i)) refuse(a, i, "an int of 32 bits");
  }
};
template <>
struct From<uint64_t> : Held<uint64_t> {
  static constexpr TypeName type{"int"};
  From(const Arguments& a, int i) : Held{as_unsigned(a, i)} {}
};
template <>
struct From<double> : Held<double> {
  static constexpr TypeName type{"float"};
  From(const Arguments& a, int i) : Held{as_float(a, i)} {}
};
template <>
struct From<bool> : Held<bool> {
  static constexpr TypeName type{"bool"};
  From(const Arguments& a, int i) : Held{as_truth(a, i)} {}
};
template <>
struct From<std::string> : Held<std::string> {
  static constexpr TypeName type{"str"};
  From(const Arguments& a, int i) : Held{std::string(as_text(a, i))} {}
};
template <>
struct From<Dims> : Held<Dims> {
  static constexpr TypeName type{"int | Sequence[int]"};
  From(const Arguments& a, int i) : Held{as_dims(a, i)} {}
};
template <>
struct From<std::vector<Tensor>> : Held<std::vector<Tensor>> {
  static constexpr TypeName type{"Sequence[Tensor]"};
  From(const Arguments& a, int i) : Held{as_tensors(a, i)} {}
};
template <>
struct From<DType> : Held<DType> {
  static constexpr TypeName type{"dtype"};
  From(const Arguments& a, int i) : Held{as_dtype(a, i)} {}
};
template <>
struct From<Device> : Held<Device> {
  static constexpr TypeName type{"device | str"};
  From(const Arguments& a, int i) : Held{as_device(a, i)} {}
};
template <>
struct From<PyObject*> : Held<PyObject*> {  // as it came, borrowed
  static constexpr TypeName type{"Any"};
  From(const Arguments& a, int i) : Held{a[i]} {}
};
template <>
struct From<Object> : Held<Object> {
  static constexpr TypeName type{"Any"};
  From(const Arguments& a, int i) : Held{Object::shared(a[i])} {}
};

// The dimensions that *name takes, as ints or as one sequence of them.
struct RestDims {
  Dims dims;
};
template <>
struct From<RestDims> : Held<RestDims> {
  static constexpr TypeName type{"int | Sequence[int]"};
  From(const Arguments& a, int i) : Held{{as_rest_dims(a, i)}} {}
};

template <class T>
struct From<std::optional<T>> : Held<std::optional<T>> {
  static constexpr TypeName type{From<T>::type.text, true};
  From(const Arguments& a, int i) {
    if (a[i] != Py_None) this->value.emplace(From<T>(a, i).get());
  }
};

// A choice by name: words<E> lists the names of the enumeration's values.
template <class E>
struct Word {
  const char* name;
  E value;
};
template <class E>
inline constexpr auto words = nullptr;

template <class E>
  requires std::is_enum_v<E>
struct From<E> : Held<E> {
  static constexpr TypeName type{"str"};
  From(const Arguments& a, int i) {
    const std::string_view given = as_text(a, i);
    for (const Word<E>& word : words<E>)
      if (given == word.name) {
        this->value = word.value;
        return;
      }
    const char* names[words<E>.size()];
    for (size_t n = 0; n < words<E>.size(); ++n) names[n] = words<E>[n].name;
    fail_word(a, i, names, words<E>.size());
  }
};

// ---- results

template <class T>
  requires std::integral<T>
struct To<T> {
  static constexpr TypeName type{"int"};
  static PyObject* of(T value) {
    if constexpr (std::signed_integral<T>)
      return PyLong_FromLongLong(value);
    else
      return PyLong_FromUnsignedLongLong(value);
  }
};
template <>
struct To<bool> {
  static constexpr TypeName type{"bool"};
  static PyObject* of(bool value) { return PyBool_FromLong(value); }
};
template <>
struct To<double> {
  static constexpr TypeName type{"float"};
  static PyObject* of(double value) { return PyFloat_FromDouble(value); }
};
template <>
struct To<std::string> {
  static constexpr TypeName type{"str"};
  static PyObject* of(const std::string& s) { return text(s).release(); }
};
template <>
struct To<const char*> {
  static constexpr TypeName type{"str"};
  static PyObject* of(const char* s) { return PyUnicode_FromString(s); }
};
template <>
struct To<Tensor> {
  static constexpr TypeName type{"Tensor"};
  static PyObject* of(const Tensor& t) { return wrap(t); }
};
template <>
struct To<Dims> {
  static constexpr TypeName type{"tuple[int, ...]"};
  static PyObject* of(const Dims& dims);
};
template <>
struct To<DType> {
  static constexpr TypeName type{"dtype"};
  static PyObject* of(DType t);
};
template <>
struct To<Device> {
  static constexpr TypeName type{"device"};
  static PyObject* of(Device d);
};
template <>
struct To<Object> {
  static constexpr TypeName type{"Any"};
  static PyObject* of(Object o) { return o.release(); }
};
template <>
struct To<std::pair<Tensor, Tensor>> {
  static constexpr TypeName type{"tuple[Tensor, Tensor]"};
  static PyObject* of(const std::pair<Tensor, Tensor>& pair);
};

}  // namespace fastnn
