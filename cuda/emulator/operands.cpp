// The operands of a kernel: its parameters tell what it reads and writes, and any other access is a fault
// even where some tensor's memory lies.
#include <vector>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {
std::vector<Operand> expected;
size_t last = 0;  // that held the access before: accesses come in runs
}  // namespace

void expect(const Operand* operands, int count) {
  expected.assign(operands, operands + count);
  last = 0;
}

const char* unexpected(uintptr_t a, size_t n, Access access) {
  if (expected.empty()) return nullptr;
  const auto holds = [&](const Operand& o) { return a >= o.begin && a + n <= o.end; };
  const auto allows = [&](const Operand& o) {
    return holds(o) && (access == Access::read ? o.reads : o.writes && (access == Access::write || o.reads));
  };
  if (allows(expected[last])) return nullptr;
  bool held = false;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (allows(expected[i])) {
      last = i;
      return nullptr;
    }
    held |= holds(expected[i]);
  }
  if (!held) return "memory of no operand that the kernel's parameters tell of";
  return access == Access::read ? "an operand that the parameters call written only"
                                : "an operand that the parameters call read only";
}

}  // namespace fastnn::emulator
