// Errors that reach the user. Messages read "op: what was found and what would be right".
#pragma once
#include <exception>
#include <sstream>
#include <string>
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

template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream text;
  text << std::boolalpha;
  (text << ... << parts);
  throw Error(kind, text.str());
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
