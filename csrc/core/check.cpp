#include "core/check.h"

#include <stdio.h>

namespace fastnn {

void print(std::string& out, std::string_view text) { out += text; }
void print(std::string& out, char letter) { out += letter; }
void print(std::string& out, bool value) { out += value ? "true" : "false"; }
void print(std::string& out, long long value) { out += std::to_string(value); }
void print(std::string& out, unsigned long long value) { out += std::to_string(value); }
void print(std::string& out, double value) {
  char digits[32];
  snprintf(digits, sizeof digits, "%g", value);
  out += digits;
}

void fail_with(ErrorKind kind, std::initializer_list<MessagePart> parts) {
  std::string message;
  for (const MessagePart& part : parts) part.print_to(message);
  throw Error(kind, std::move(message));
}

}  // namespace fastnn
