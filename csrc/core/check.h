// Errors that reach the user. Messages read "op: what was found and what would be right".
#pragma once
#include <concepts>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fastnn {

enum class ErrorKind { value, type, index, runtime, memory, not_implemented, interrupted };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

// How a part of a message is printed; what has a shape of its own (Dims, DType, Device) has its own `print`.
void print(std::string& out, std::string_view text);
void print(std::string& out, char letter);
void print(std::string& out, bool value);
void print(std::string& out, long long value);
void print(std::string& out, unsigned long long value);
void print(std::string& out, double value);
void print(std::string& out, const void* address);
template <class T>
void print(std::string& out, T value) = delete;  // by a conversion that nobody asked for

// A part of a message before it is printed: it only points to the value.
class MessagePart {
 public:
  template <class T>
  MessagePart(const T& value) : value_(&value), print_(print_value<T>) {}
  MessagePart(const char* text)
      : value_(text),
        print_([](std::string& out, const void* p) { out += p ? static_cast<const char*>(p) : "?"; }) {}
  void print_to(std::string& out) const { print_(out, value_); }

 private:
  template <class T>
  static void print_value(std::string& out, const void* p) {
    const T& value = *static_cast<const T*>(p);
    constexpr bool integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>;
    if constexpr (integer && std::is_signed_v<T>)
      print(out, static_cast<long long>(value));
    else if constexpr (integer)
      print(out, static_cast<unsigned long long>(value));
    else if constexpr (std::convertible_to<const T&, std::string_view>)
      print(out, std::string_view(value));
    else if constexpr (std::floating_point<T>)
      print(out, static_cast<double>(value));
    else if constexpr (std::is_pointer_v<T>)
      print(out, static_cast<const void*>(value));
    else
      print(out, value);
  }

  const void* value_;
  void (*print_)(std::string&, const void*);
};

[[noreturn, gnu::cold]] void fail_with(ErrorKind kind, std::initializer_list<MessagePart> parts);

template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(ErrorKind kind, const Parts&... parts) {
  fail_with(kind, {parts...});
}

// The parts are printed only when the check fails.
template <class... Parts>
inline void check(bool ok, ErrorKind kind, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(kind, parts...);
}
template <class... Parts>
inline void check_value(bool ok, const Parts&... parts) {
  check(ok, ErrorKind::value, parts...);
}
template <class... Parts>
inline void check_type(bool ok, const Parts&... parts) {
  check(ok, ErrorKind::type, parts...);
}
template <class... Parts>
inline void check_index(bool ok, const Parts&... parts) {
  check(ok, ErrorKind::index, parts...);
}

}  // namespace fastnn
