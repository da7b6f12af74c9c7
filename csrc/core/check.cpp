#include "core/check.h"

#include <charconv>

namespace fastnn {

void print(std::string& out, std::string_view text) { out += text; }
void print(std::string& out, char letter) { out += letter; }
void print(std::string& out, bool value) { out += value ? "true" : "false"; }
void print(std::string& out, long long value) { out += std::to_string(value); }
void print(std::string& out, unsigned long long value) { out += std::to_string(value); }
void print(std::string& out, double value) {
  char digits[32];  // as %g, whatever the locale
  out.append(digits, std::to_chars(digits, std::end(digits), value, std::chars_format::general, 6).ptr);
}
void print(std::string& out, const void* address) {
  char digits[2 * sizeof address];
  const auto number = reinterpret_cast<uintptr_t>(address);
  out += "0x";
  out.append(digits, std::to_chars(digits, std::end(digits), number, 16).ptr);
}

void fail_with(ErrorKind kind, std::initializer_list<MessagePart> parts) {
  std::string message;
  for (const MessagePart& part : parts) part.print_to(message);
  throw Error(kind, std::move(message));
}

}  // namespace fastnn
